// The loss of one item, and its gradient in the place of its logits.
//
// The loss is summed in double and from the logits' differences to their maximum, so that it
// neither overflows nor loses its digits for a class of probability near 1; the gradient is in T.
#pragma once

#include "activations.h"

namespace elman::ELMAN_ISA {

// -((1 - s) w_y log p_y + s / K sum_k w_k log p_k) * scale, p = softmax(z): cross-entropy with
// class weights w and label smoothing s as in torch.nn.functional.cross_entropy. z: (Kp) logits in,
// gradient out, zero past K.
template <class T>
double cross_entropy(Index K, T* z, std::int64_t y, const T* class_weight, T smoothing,
                     double scale) {
    constexpr Index L = lanes<T>;
    const Index Kp = padded<T>(K);
    if (y < 0) {  // no label: no loss
        for (Index k = 0; k < Kp; ++k) z[k] = T(0);
        return 0;
    }
    T highest = z[0];
    for (Index k = 1; k < K; ++k) highest = z[k] > highest || z[k] != z[k] ? z[k] : highest;
    double log_p = double(z[y]) - double(highest);  // log(sum) is subtracted below
    double smooth = 0, weights = 0;
    if (smoothing > T(0)) {
        for (Index k = 0; k < K; ++k) {
            const double w = class_weight ? double(class_weight[k]) : 1.0;
            smooth += w * (double(z[k]) - double(highest));
            weights += w;
        }
    }
    for (Index k = 0; k < Kp; k += L) {
        const Power<T> e = power<T>(clamp<T>(load<T>(z + k) - highest, Exp<T>::largest));
        store<T>(z + k, e.scale * e.part + e.scale);
    }
    double sum = 0;
    for (Index k = 0; k < K; ++k) sum += double(z[k]);
    const double log_sum = __builtin_log(sum);
    log_p -= log_sum;
    smooth -= weights * log_sum;

    const double w = class_weight ? double(class_weight[y]) : 1.0;
    const double share = double(smoothing) / double(K);
    const double sharp = (1.0 - double(smoothing)) * w;
    const T all = T((sharp + share * weights) * scale / sum);
    for (Index k = 0; k < K; ++k) {
        z[k] *= all;
        if (smoothing > T(0)) {
            z[k] -= T(share * scale * (class_weight ? double(class_weight[k]) : 1.0));
        }
    }
    for (Index k = K; k < Kp; ++k) z[k] = T(0);
    z[y] -= T(sharp * scale);
    return -(sharp * log_p + share * smooth) * scale;
}

// sum_k (z_k - v_k)^2 * scale
template <class T>
double squared_error(Index K, T* z, const T* v, double scale) {
    double sum = 0;
    for (Index k = 0; k < K; ++k) {
        const double error = double(z[k]) - double(v[k]);
        sum += error * error;
        z[k] = T(2 * error * scale);
    }
    for (Index k = K; k < padded<T>(K); ++k) z[k] = T(0);
    return sum * scale;
}

}  // namespace elman::ELMAN_ISA
