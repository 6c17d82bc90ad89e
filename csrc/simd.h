// Vectors of one register's width, for whichever instruction set this file is compiled for.
//
// GCC's and Clang's vector extensions, no intrinsics: `a * b + c` becomes a fused multiply-add
// where there is one, and a scalar operand is broadcast. A vector wider than the registers is
// correct but many times slower (32 bytes on SSE2: 2 GFLOP/s, 16 bytes: 32; docs/log.md), so the
// width follows the instruction set, and each set is compiled on its own.
#pragma once

#include <cstdint>

#include "api.h"

#ifndef ELMAN_ISA
#error "compile with -DELMAN_ISA=baseline, avx2, avx512 or neon"
#endif

#if defined(__AVX512F__)
#define ELMAN_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define ELMAN_VECTOR_BYTES 32
#else
#define ELMAN_VECTOR_BYTES 16
#endif

#if defined(__clang__)
#define ELMAN_UNROLL _Pragma("clang loop unroll(full)")
#else
#define ELMAN_UNROLL _Pragma("GCC unroll 16")
#endif
#define ELMAN_INLINE inline __attribute__((always_inline))

namespace elman::ELMAN_ISA {

template <class T>
struct Simd;

template <>
struct Simd<float> {
    typedef float Vec __attribute__((vector_size(ELMAN_VECTOR_BYTES)));
    typedef int32_t Int __attribute__((vector_size(ELMAN_VECTOR_BYTES)));
    using Bits = int32_t;
};

template <>
struct Simd<double> {
    typedef double Vec __attribute__((vector_size(ELMAN_VECTOR_BYTES)));
    typedef int64_t Int __attribute__((vector_size(ELMAN_VECTOR_BYTES)));
    using Bits = int64_t;
};

template <class T>
using Vec = typename Simd<T>::Vec;

// Elements in a vector.
template <class T>
constexpr Index lanes = ELMAN_VECTOR_BYTES / sizeof(T);

// n rounded up to whole vectors.
template <class T>
constexpr Index padded(Index n) {
    return (n + lanes<T> - 1) / lanes<T> * lanes<T>;
}

template <class T>
ELMAN_INLINE Vec<T> load(const T* p) {
    Vec<T> v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

template <class T>
ELMAN_INLINE void store(T* p, Vec<T> v) {
    __builtin_memcpy(p, &v, sizeof v);
}

// The first n elements at p, then zeros: never reads past p + n, where the caller's tensor may end.
template <class T>
ELMAN_INLINE Vec<T> load(const T* p, Index n) {
    if (n >= lanes<T>) return load<T>(p);
    Vec<T> v = {};
    for (Index i = 0; i < n; ++i) v[i] = p[i];
    return v;
}

// The first n elements of v to p: never writes past p + n.
template <class T>
ELMAN_INLINE void store(T* p, Vec<T> v, Index n) {
    if (n >= lanes<T>) return store<T>(p, v);
    for (Index i = 0; i < n; ++i) p[i] = v[i];
}

}  // namespace elman::ELMAN_ISA
