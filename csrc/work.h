// What calls on whole batches share: when more threads pay, and each thread's working memory.
#pragma once

#include "api.h"
#include "memory.h"

namespace elman {

// Multiplications and additions of one step of one row, forward.
inline double step_work(const Layer& layer) {
    return 2.0 * double(gates(layer.cell)) * double(layer.H) * double(layer.I + layer.H);
}

// Below so much work a call stays on one thread; see docs/kernels.md.
constexpr double least_work = 2e7;

inline int worthwhile_threads(double work, int threads) { return work < least_work ? 1 : threads; }

// Chunks for rows of which no gradients are summed: to suit the threads, at least 8 rows each.
inline Index forward_chunks(Index B, int threads) {
    const Index most = threads > 1 ? 2 * Index(threads) : 1;
    return B / 8 < most ? (B < 8 ? 1 : B / 8) : most;
}

// One for each thread of the program.
struct Workspace {
    Arena weights, scratch, embedded;
};
inline Workspace& workspace() {
    thread_local Workspace workspace;
    return workspace;
}

}  // namespace elman
