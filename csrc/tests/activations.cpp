// Errors of tanh and sigmoid in units in the last place, of one instruction set: compiled for it
// and run by tests/ops/test_native_activations.py. Prints `tanh ERROR ARGUMENT sigmoid ERROR
// ARGUMENT`.
//
//     activations float [STRIDE]     every STRIDE-th of all 2^32 float32 arguments
//     activations double [COUNT]     COUNT float64 arguments
//
// Exits with 1 if a NaN does not stay one, or a value leaves [-1, 1] or [0, 1].
#include "activations.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>

using namespace elman;
using namespace elman::ELMAN_ISA;

namespace {

template <class T>
struct Worst {
    double error = 0;
    T argument = 0;

    template <class Exact>
    void add(T x, T found, Exact exact) {
        // A unit in the last place of what is exact; of the smallest normal number below that.
        double power = std::fmax(std::fabs(double(exact)), double(std::numeric_limits<T>::min()));
        std::uint64_t bits;
        std::memcpy(&bits, &power, sizeof bits);
        bits &= 0x7ff0000000000000u;
        std::memcpy(&power, &bits, sizeof power);
        const double unit = power * double(std::numeric_limits<T>::epsilon());
        const double distance = double(std::fabs(Exact(found) - exact)) / unit;
        if (!(distance <= error)) {
            error = distance;
            argument = x;
        }
    }
};

bool sound = true;
Worst<float> tanh32, sigmoid32;
Worst<double> tanh64, sigmoid64;

// The exact values. Beyond these limits double's own functions cost more than they tell.
double exact_tanh(float x) {
    const double a = x;
    if (std::fabs(a) < 1e-3) return a - a * a * a / 3;
    return std::fabs(a) > 20 ? std::copysign(1.0, a) : std::tanh(a);
}
double exact_sigmoid(float x) {
    const double a = x;
    if (std::fabs(a) < 1e-4) return 0.5 + a / 4;
    return a > 40 ? 1.0 : a < -120 ? 0.0 : 1 / (1 + std::exp(-a));
}
long double exact_tanh(double x) { return std::tanh(static_cast<long double>(x)); }
long double exact_sigmoid(double x) { return 1 / (1 + std::exp(-static_cast<long double>(x))); }

template <class T>
void add(const T* x, Worst<T>& of_tanh, Worst<T>& of_sigmoid) {
    T t[lanes<T>], s[lanes<T>];
    store<T>(t, ELMAN_ISA::tanh<T>(load<T>(x)));
    store<T>(s, ELMAN_ISA::sigmoid<T>(load<T>(x)));
    for (Index i = 0; i < lanes<T>; ++i) {
        if (std::isnan(x[i])) {
            sound = sound && std::isnan(t[i]) && std::isnan(s[i]);
            continue;
        }
        sound = sound && std::fabs(t[i]) <= 1 && s[i] >= 0 && s[i] <= 1;
        of_tanh.add(x[i], t[i], exact_tanh(x[i]));
        // Below the largest negative exponent it stands still, at 1e-38 or 1e-308.
        if (x[i] >= -Exp<T>::largest) of_sigmoid.add(x[i], s[i], exact_sigmoid(x[i]));
        else sound = sound && s[i] < 2 * std::numeric_limits<T>::min();
    }
}

void all_floats(std::uint64_t stride) {
    float x[lanes<float>];
    Index n = 0;
    for (std::uint64_t bits = 0; bits < (std::uint64_t(1) << 32); bits += stride) {
        const std::uint32_t low = std::uint32_t(bits);
        std::memcpy(&x[n], &low, sizeof low);
        if (++n < lanes<float>) continue;
        add(x, tanh32, sigmoid32);
        n = 0;
    }
}

// Half of them over the range where the functions bend, half over all exponents.
void some_doubles(std::uint64_t count) {
    double x[lanes<double>];
    std::uint64_t state = 1;
    for (std::uint64_t done = 0; done < count; done += lanes<double>) {
        for (Index i = 0; i < lanes<double>; ++i) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            const std::uint64_t bits = state ^ (state >> 29);
            if (i % 2) std::memcpy(&x[i], &bits, sizeof bits);
            else x[i] = (double(bits >> 11) * 0x1p-52 - 1) * (i % 4 ? 25 : 2);
        }
        add(x, tanh64, sigmoid64);
    }
}

}  // namespace

int main(int count, char** arguments) {
    const bool is_double = count > 1 && !std::strcmp(arguments[1], "double");
    const std::uint64_t n = count > 2 ? std::strtoull(arguments[2], nullptr, 10) : 0;
    if (is_double) some_doubles(n ? n : 100000000);
    else all_floats(n ? n : 1);
    const double error[] = {is_double ? tanh64.error : tanh32.error,
                            is_double ? sigmoid64.error : sigmoid32.error};
    const double at[] = {is_double ? tanh64.argument : double(tanh32.argument),
                         is_double ? sigmoid64.argument : double(sigmoid32.argument)};
    std::printf("tanh %.3f %a sigmoid %.3f %a\n", error[0], at[0], error[1], at[1]);
    return sound ? 0 : 1;
}
