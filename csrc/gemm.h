// Matrix products of the sizes a recurrence needs: many rows a few units wide, again and again.
//
//     gemm        C (M, N)  = init + A (M, K) B (K, N)          B packed in panels
//     gemm_tn     C (M, N)  = init + A (K, M)^T B (K, N)        neither packed
//
// B is packed once a call. A panel is as many columns as a register block is wide; within it the
// columns of one k are adjacent, and the next k follows. With panels of two vectors, columns n0 n1
// ... of B:
//
//               panel 0            panel 1                  memory
//     k = 0   | n0 .. n15 |      | n16 .. n31 |             panel 0: k=0 | k=1 | ... | k=K-1
//     k = 1   | n0 .. n15 |      | n16 .. n31 |             panel 1: k=0 | k=1 | ... | k=K-1
//       :     |     :     |      |     :      |
//
// The inner loop over k then reads one stream from its first element to its last, and A (states and
// inputs) needs no packing: one element of each row is broadcast. The order of loops is panel,
// block of rows, k: a panel of at most 4 vectors stays in the L1 cache while all rows pass, and a
// block's sums stay in registers from the first k to the last.
//
// Every element of C is one chain of multiply-adds over k in order, whatever M is and wherever its
// row is. So a row's result has the same bits alone and in any batch, and a product may be split
// over k (store C, load it again) without a change.
#pragma once

#include "simd.h"

namespace elman::ELMAN_ISA {

// Register block: at most `max_rows(V)` rows by V vectors, V <= max_vectors. The rows x V sums and
// the V vectors of B fit the registers, with one more for the broadcast element where it is no
// operand of the multiply-add. 3 x 4 on AVX2 (12 sums, 4 loads, 16 registers) already spills, to 45
// GFLOP/s; 6 x 2 does not (docs/log.md).
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int max_vectors = 4;  // 32 registers
constexpr int max_rows(int V) { return V == 1 ? 12 : V == 2 ? 12 : V == 3 ? 8 : 6; }
#elif defined(__AVX2__)
constexpr int max_vectors = 2;  // 16 registers
constexpr int max_rows(int V) { return V == 1 ? 10 : 6; }
#else
constexpr int max_vectors = 2;  // 16 registers, one of them for the product
constexpr int max_rows(int V) { return V == 1 ? 8 : 5; }
#endif
static_assert(max_rows(1) <= 12 && max_rows(2) <= 12, "BlocksByRows lists 12 sizes");

// One register block. Every loop over `sum` must be unrolled: a sum that is indexed by a variable
// lives in memory, at a fifth of the speed (20 GFLOP/s; docs/log.md).
// tests/ops/test_native_speed.py reads the assembly for it. A(r, k) = a[r * lda + k], or a[k * lda
// + r] if Transposed. init: what C starts from, row stride ldi: C itself (accumulate), or one row
// with stride 0 (bias).
template <class T, int R, int V, bool Transposed>
void block(Index K, const T* a, Index lda, const T* b, Index ldb, const T* init, Index ldi, T* c,
           Index ldc) {
    constexpr Index L = lanes<T>;
    Vec<T> sum[R][V];
    ELMAN_UNROLL
    for (int r = 0; r < R; ++r) {
        ELMAN_UNROLL
        for (int v = 0; v < V; ++v) sum[r][v] = load<T>(init + r * ldi + v * L);
    }
    const T* row[R];
    ELMAN_UNROLL
    for (int r = 0; r < R; ++r) row[r] = a + r * lda;
    for (Index k = 0; k < K; ++k) {
        Vec<T> w[V];
        ELMAN_UNROLL
        for (int v = 0; v < V; ++v) w[v] = load<T>(b + v * L);
        ELMAN_UNROLL
        for (int r = 0; r < R; ++r) {
            const T s = Transposed ? a[r] : row[r][k];
            ELMAN_UNROLL
            for (int v = 0; v < V; ++v) sum[r][v] += s * w[v];
        }
        b += ldb;
        if (Transposed) a += lda;
    }
    ELMAN_UNROLL
    for (int r = 0; r < R; ++r) {
        ELMAN_UNROLL
        for (int v = 0; v < V; ++v) store<T>(c + r * ldc + v * L, sum[r][v]);
    }
}

template <class T>
using Block = void (*)(Index, const T*, Index, const T*, Index, const T*, Index, T*, Index);

// Blocks of 1, 2, ... rows by V vectors.
template <class T, int V, bool Transposed, int R>
constexpr Block<T> block_if_fits() {
    if constexpr (R <= max_rows(V)) {
        return block<T, R, V, Transposed>;
    } else {
        return nullptr;
    }
}

template <class T, int V, bool Transposed, int... R>
struct BlocksByRows {
    static constexpr Block<T> of[] = {block_if_fits<T, V, Transposed, R>()...};
};

template <class T, int V, bool Transposed>
Block<T> block_of(Index rows) {
    return BlocksByRows<T, V, Transposed, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12>::of[rows - 1];
}

// Rows in equal shares, 32 as 6+6+5+5+5+5: in a last block of 2 each load of B would serve 2
// multiply-adds in place of 6, at a third of the speed.
template <class T, int V, bool Transposed>
void panel(Index M, Index K, const T* a, Index lda, const T* b, Index ldb, const T* init, Index ldi,
           T* c, Index ldc) {
    const Index parts = (M + max_rows(V) - 1) / max_rows(V);
    for (Index part = 0; part < parts; ++part) {
        const Index i = part * M / parts, rows = (part + 1) * M / parts - i;
        block_of<T, V, Transposed>(rows)(K, a + i * (Transposed ? 1 : lda), lda, b, ldb,
                                         init + i * ldi, ldi, c + i * ldc, ldc);
    }
}

template <class T, bool Transposed>
void panel_of(Index vectors, Index M, Index K, const T* a, Index lda, const T* b, Index ldb,
               const T* init, Index ldi, T* c, Index ldc) {
    switch (vectors) {
        case 1: return panel<T, 1, Transposed>(M, K, a, lda, b, ldb, init, ldi, c, ldc);
        case 2: return panel<T, 2, Transposed>(M, K, a, lda, b, ldb, init, ldi, c, ldc);
#if defined(__AVX512F__) || defined(__aarch64__)
        case 3: return panel<T, 3, Transposed>(M, K, a, lda, b, ldb, init, ldi, c, ldc);
        case 4: return panel<T, 4, Transposed>(M, K, a, lda, b, ldb, init, ldi, c, ldc);
#endif
    }
}

// The columns of a matrix in panels of nearly equal width, at most max_vectors wide: 5 vectors as
// 2 + 3 and not 4 + 1, since a panel of one vector waits for its loads.
struct Panels {
    Index vectors, count;

    explicit Panels(Index vectors)
        : vectors(vectors), count((vectors + max_vectors - 1) / max_vectors) {}
    // First vector of panel j.
    Index start(Index j) const { return j * vectors / count; }
};

// C (M, N) = init + A (M, K) B. N in whole vectors; b from `pack_*`: K * N elements.
template <class T>
void gemm(Index M, Index N, Index K, const T* a, Index lda, const T* b, const T* init, Index ldi,
          T* c, Index ldc) {
    const Panels panels(N / lanes<T>);
    for (Index j = 0; j < panels.count; ++j) {
        const Index v = panels.start(j), vectors = panels.start(j + 1) - v;
        panel_of<T, false>(vectors, M, K, a, lda, b + v * lanes<T> * K, vectors * lanes<T>,
                            init + v * lanes<T>, ldi, c + v * lanes<T>, ldc);
    }
}

// C (M, N) = init + A (K, M)^T B (K, N). N in whole vectors. For weight gradients, where B is dz:
// written a moment ago and read once, so packing it would cost more than it saves.
template <class T>
void gemm_tn(Index M, Index N, Index K, const T* a, Index lda, const T* b, Index ldb,
             const T* init, Index ldi, T* c, Index ldc) {
    const Panels panels(N / lanes<T>);
    for (Index j = 0; j < panels.count; ++j) {
        const Index v = panels.start(j), vectors = panels.start(j + 1) - v;
        panel_of<T, true>(vectors, M, K, a, lda, b + v * lanes<T>, ldb, init + v * lanes<T>, ldi,
                           c + v * lanes<T>, ldc);
    }
}

// Pack B (K, N) for `gemm`, panel by panel, k by k, from its columns: column[n][k], or null for 0.
template <class T>
void pack_columns(Index K, Index N, const T* const* column, T* b) {
    constexpr Index tile = 16;  // of k, so that columns are read a cache line at a time
    const Panels panels(N / lanes<T>);
    for (Index j = 0; j < panels.count; ++j) {
        const Index first = panels.start(j) * lanes<T>;
        const Index width = panels.start(j + 1) * lanes<T> - first;
        for (Index k = 0; k < K; k += tile) {
            const Index depth = K - k < tile ? K - k : tile;
            for (Index n = 0; n < width; ++n) {
                const T* from = column[first + n];
                for (Index i = 0; i < depth; ++i) b[i * width + n] = from ? from[k + i] : T(0);
            }
            b += depth * width;
        }
    }
}

// The same from its rows: row[k][n] for n < width and 0 beyond, or null for a row of zeros.
template <class T>
void pack_rows(Index K, Index N, Index width, const T* const* row, T* b) {
    const Panels panels(N / lanes<T>);
    for (Index j = 0; j < panels.count; ++j) {
        const Index first = panels.start(j) * lanes<T>, last = panels.start(j + 1) * lanes<T>;
        for (Index k = 0; k < K; ++k) {
            for (Index n = first; n < last; n += lanes<T>, b += lanes<T>) {
                store<T>(b, row[k] && n < width ? load<T>(row[k] + n, width - n) : Vec<T>{});
            }
        }
    }
}

}  // namespace elman::ELMAN_ISA
