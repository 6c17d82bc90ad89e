// A network one step at a time, from packed weights and, for a stream, from raw numbers to
// probabilities.
#pragma once

#include <memory>
#include <vector>

#include "dispatch.h"
#include "memory.h"

namespace elman {

// What a stream keeps of each sequence, in the caller's memory: a row of each for every sequence.
template <class T>
struct StepState {
    Index rows = 0;             // B
    T *h = nullptr, *c = nullptr;  // (B, layers, H); c of an LSTM
    T* pooled = nullptr;        // (B, H): sum or maximum of the top layer's h; of mean and max
    std::int64_t* steps = nullptr;  // (B): steps so far
};

// The rows that take a step: their places in the state, (count), or null for all of them.
struct StepRows {
    Index count;
    const std::int64_t* row = nullptr;
};

// Raw inputs to network inputs, as elman.estimators.encoder has it: a gap takes the channel's value
// of the step before, numbers are standardised, and channels that may have gaps get a mask.
struct NumberEncoder {
    std::vector<double> mean, scale;  // (C)
    std::vector<double> fill;         // (C): the value before the first; NaN: gaps are refused

    Index channels() const { return Index(mean.size()); }
};

enum class Outputs { softmax, sigmoid, scaled };

// Network outputs to probabilities, or to values in the target's unit, as double.
struct OutputTransform {
    Outputs kind = Outputs::softmax;
    std::vector<double> mean, scale;  // (K), of scaled
};

// to (rows, K) = the probabilities of logits (rows, K): over the classes, or of each label alone.
template <class T>
void probabilities(Outputs kind, Index rows, Index K, const T* logits, double* to);

// A network in one direction with a copy of its weights; threads may share it. It keeps to the
// instruction set that was active when it was made.
template <class T>
class Stepper {
  public:
    using Element = T;
    // parameters: as in NetworkCall.
    Stepper(const Network& net, const std::vector<const T*>& parameters);

    const Network& net() const { return weights_.net; }
    // One step of x (rows, numbers + tables), or tokens (rows), to logits (rows, K). The state is
    // unchanged if it raises std::out_of_range, for a row, token or code.
    void step(const StepRows& rows, const T* x, const std::int64_t* tokens,
              const StepState<T>& state, T* logits, int threads) const;
    // The same from raw x (rows, C + tables) to `to` (rows, K). last (B, C): each channel's latest
    // value, in and out. False, without a change of state, if x has a gap that is refused or a
    // number too large for a float.
    bool step_raw(const NumberEncoder& encoder, const OutputTransform& outputs,
                  const StepRows& rows, const double* x, const std::int64_t* tokens,
                  const StepState<T>& state, double* last, double* to, int threads) const;

  private:
    void advance(const StepRows& rows, const T* x, const std::int64_t* tokens,
                 const StepState<T>& state, T* logits, int threads) const;

    const Kernels<T>& kernels_;
    std::vector<Table> tables_;
    std::vector<std::vector<T>> embeddings_;
    std::vector<const T*> parameters_;  // the embeddings' addresses come first
    Arena memory_;
    std::vector<PackedWeights<T>> layers_;
    NetworkChunk<T> weights_;
};

}  // namespace elman
