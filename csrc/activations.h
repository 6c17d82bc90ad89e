// tanh and sigmoid of a whole vector, from one polynomial for e^r - 1.
//
//     e^y = 2^n e^r,  y = n ln 2 + r,  |r| <= ln 2 / 2
//     tanh(x) = t / (t + 2),  t = e^{2x} - 1          sigmoid(x) = 1 / (1 + e^{-x})
//
// Largest error over all float32 and 10^8 float64 arguments: tanh 3.5, sigmoid 2.5 units in the
// last place (docs/kernels.md). NaN stays NaN. The polynomials are minimax over the range of r
// (Remez exchange, 50 digits): relative error 1.1e-8 for float, 2.4e-19 for double before rounding.
// torch's own take 1.3 (sigmoid) and 3.5 ns (tanh) an element where these took 1.0 and 0.8 in a
// prototype, and a GRU of 16 units spends more than half of its forward pass here.
#pragma once

#include "simd.h"

namespace elman::ELMAN_ISA {

template <class T>
struct Exp;

template <>
struct Exp<float> {
    static constexpr float round = 12582912.0f;  // 1.5 * 2^23: adding it leaves whole numbers
    // ln 2 in two parts (Cody and Waite): n * ln2_high is exact, its low bits being zero.
    static constexpr float ln2_high = 0.693145751953125f, ln2_low = 1.42860682e-6f;
    static constexpr float largest = 87.0f;  // beyond, 2^n has no exponent
    static constexpr float saturated = 20.0f;  // from here on t / (t + 2) is 1
    static constexpr int32_t one = 0x3f800000, mantissa = 23;
    static constexpr float p[] = {1.0f,
                                  0.500000008f,
                                  0.166665052f,
                                  0.0416662405f,
                                  0.00836915784f,
                                  0.00139485957f};
};

template <>
struct Exp<double> {
    static constexpr double round = 6755399441055744.0;  // 1.5 * 2^52
    static constexpr double ln2_high = 0x1.62e42fee00000p-1, ln2_low = 1.9082149292705878e-10;
    static constexpr double largest = 708.0;
    static constexpr double saturated = 44.0;
    static constexpr int64_t one = 0x3ff0000000000000, mantissa = 52;
    static constexpr double p[] = {1.0,
                                   0.5,
                                   0.16666666666666681,
                                   0.041666666666666708,
                                   0.0083333333333195891,
                                   0.0013888888888864682,
                                   0.00019841269890077395,
                                   2.4801587363821939e-5,
                                   2.7557240886379248e-6,
                                   2.7557240490842984e-7,
                                   2.5110049464607926e-8,
                                   2.0925034789409178e-9};
};

// e^y = scale * (1 + part), scale a power of two.
template <class T>
struct Power {
    Vec<T> scale, part;
};

template <class T>
ELMAN_INLINE Vec<T> clamp(Vec<T> x, T limit) {
    // In this order of operands a NaN, for which every comparison is false, passes through.
    const Vec<T> high = Vec<T>{} + limit, low = Vec<T>{} - limit;
    x = x > high ? high : x;
    return x < low ? low : x;
}

template <class T>
ELMAN_INLINE Power<T> power(Vec<T> y) {
    using E = Exp<T>;
    using Int = typename Simd<T>::Int;
    const Vec<T> shifted = y * T(1.4426950408889634) + E::round;
    const Vec<T> n = shifted - E::round;
    const Vec<T> r = (y - n * E::ln2_high) - n * E::ln2_low;
    constexpr int terms = sizeof(E::p) / sizeof(T);
    Vec<T> sum = Vec<T>{} + E::p[terms - 1];
    ELMAN_UNROLL
    for (int i = terms - 2; i >= 0; --i) sum = sum * r + E::p[i];
    // The low bits of `shifted` are n as an integer: moved into the exponent they make 2^n.
    Int bits;
    __builtin_memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << E::mantissa) + E::one;
    Vec<T> scale;
    __builtin_memcpy(&scale, &bits, sizeof scale);
    return {scale, r * sum};
}

template <class T>
ELMAN_INLINE Vec<T> tanh(Vec<T> x) {
    const Power<T> e = power<T>(clamp<T>(x + x, Exp<T>::saturated));
    // 2^n (e^r - 1) + (2^n - 1): exact near 0, where e^{2x} - 1 as a difference would cancel.
    const Vec<T> t = e.scale * e.part + (e.scale - T(1));
    return t / (t + T(2));
}

template <class T>
ELMAN_INLINE Vec<T> sigmoid(Vec<T> x) {
    const Power<T> e = power<T>(clamp<T>(-x, Exp<T>::largest));
    return T(1) / (T(1) + (e.scale * e.part + e.scale));
}

}  // namespace elman::ELMAN_ISA
