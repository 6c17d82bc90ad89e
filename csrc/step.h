// One step of some rows of a stream through a whole network in one direction.
//
// The same products and the same equations as in network.h, row by row in the same order, so a
// stream's answers have the bits of the whole sequence's.
#pragma once

#include "layer.h"
#include "readout.h"

namespace elman::ELMAN_ISA {

// The first layer's input at one step: its numbers, then the embeddings of its tokens. Returns the
// end of what it has written.
template <class T>
ELMAN_INLINE T* embed_step(const Network& net, Index numbers, const T* const* embeddings,
                           const T* x, const std::int64_t* token, T* to) {
    if (numbers) copy(numbers, x, to);
    to += numbers;
    for (Index k = 0; k < net.table_count; ++k) {
        const Index width = net.tables[k].width;
        copy(width, embeddings[k] + token[k] * width, to);
        to += width;
    }
    return to;
}

// A step's memory: constructed without memory it only adds up its size.
template <class T>
struct StepScratch {
    Index size = 0;
    T *embedded, *y, *readout, *logits, *layer;

    StepScratch(const Network& net, const Chunk& chunk, T* base) {
        const auto take = [&](Index n) {
            T* const at = base ? base + size : nullptr;
            size += (n + 15) / 16 * 16;  // whole cache lines
            return at;
        };
        embedded = take(net.table_count ? chunk.rows * net.I : 0);
        y = take(2 * chunk.rows * net.H);  // of two layers, in turn
        readout = take(chunk.rows * net.H);
        logits = take(chunk.rows * padded<T>(net.K));
        Index most = 0;
        for (Index l = 0; l < net.layers; ++l) {
            const Index n = forward_scratch<T>(net.layer(l, 0), chunk);
            most = most < n ? n : most;
        }
        layer = take(most);
    }
};

template <class T>
Index step_scratch(const StepChunk<T>& s) {
    const Index one[] = {0, s.rows};
    return StepScratch<T>(s.weights->net, {s.rows, 1, &s.rows, one}, nullptr).size;
}

template <class T>
void run_step(const StepChunk<T>& s) {
    const NetworkChunk<T>& w = *s.weights;
    const Network& net = w.net;
    const Index H = net.H, Kp = padded<T>(net.K), offset[] = {0, s.rows};
    const Chunk chunk{s.rows, 1, &s.rows, offset};
    const StepScratch<T> m(net, chunk, s.scratch);
    const T* x = s.x;
    if (net.table_count) {
        const Index numbers = net.numbers();
        T* to = m.embedded;
        for (Index r = 0; r < s.rows; ++r) {
            to = embed_step(net, numbers, w.embeddings, s.x + r * numbers,
                            s.tokens + r * net.table_count, to);
        }
        x = m.embedded;
    }
    for (Index l = 0; l < net.layers; ++l) {
        T* const y = m.y + l % 2 * s.rows * H;
        ForwardChunk<T> f;
        f.layer = net.layer(l, 0);
        f.weights = w.layers[l];
        f.chunk = chunk;
        f.x = View<const T>::packed(x, offset, f.layer.I);
        f.y = View<T>::packed(y, offset, H);
        f.h_n = {s.h + l * H, nullptr, s.state_offset, 0};
        f.h0 = f.h_n.constant();
        if (s.c) {
            f.c_n = {s.c + l * H, nullptr, s.state_offset, 0};
            f.c0 = f.c_n.constant();
        }
        f.scratch = m.layer;
        forward(f);
        x = y;
    }
    if (s.pooled) {
        const bool maximum = net.readout == Readout::max;
        for (Index r = 0; r < s.rows; ++r) {
            T* const pooled = s.pooled + s.row[r] * H;
            pool_step(maximum, H, x + r * H, pooled);
            const T steps = T(s.steps[s.row[r]]);
            for (Index i = 0; i < H; ++i) {
                m.readout[r * H + i] = maximum ? pooled[i] : pooled[i] / steps;
            }
        }
        x = m.readout;
    }
    if (!net.K) return;
    gemm<T>(s.rows, Kp, H, x, H, w.output, w.output_bias, 0, m.logits, Kp);
    for (Index r = 0; r < s.rows; ++r) copy(net.K, m.logits + r * Kp, s.logits + r * net.K);
}

}  // namespace elman::ELMAN_ISA
