// Shared by the calls on whole batches: when more threads pay, and each thread's memory.
#pragma once

#include "api.h"
#include "memory.h"

namespace elman {

// Multiplications and additions of one step of one row, forward.
inline double step_work(const Layer& layer) {
    return 2.0 * double(layer.H) *
           (double(gate_count(layer.cell)) * double(layer.I + layer.Y()) + double(layer.P));
}

// A call with less work than this stays on one thread, which does it in under a millisecond: waking
// another costs a noticeable part of that (docs/kernels.md).
constexpr double least_work = 2e7;

inline int worthwhile_threads(double work, int threads) { return work < least_work ? 1 : threads; }

// Chunks where no gradients are summed, so that their number may depend on the threads: two for
// each, to even out, of at least 8 rows, to fill the register blocks.
inline Index forward_chunks(Index B, int threads) {
    const Index most = threads > 1 ? 2 * Index(threads) : 1;
    return B / 8 < most ? (B < 8 ? 1 : B / 8) : most;
}

// One for each thread of the program. Arenas apart because their lifetimes overlap: a caller's
// packed weights are in use while it works on a chunk like any other thread.
struct Workspace {
    Arena weights, scratch, embedded, tokens;
};
inline Workspace& workspace() {
    thread_local Workspace workspace;
    return workspace;
}

}  // namespace elman
