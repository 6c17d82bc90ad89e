// What the tests of csrc are written with: CHECK, random numbers, tensors of exactly their own
// size.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "views.h"

namespace elman::tests {

inline std::atomic<long> checked{0}, failed{0};

// What the thread is trying, printed where a check fails.
inline thread_local std::string trying;

inline void check(bool holds, const char* file, int line, const std::string& what) {
    ++checked;
    if (holds) return;
    std::fprintf(stderr, "%s:%d: %s\n    %s\n", file, line, what.c_str(), trying.c_str());
    if (++failed >= 20) std::exit(1);
}

#define CHECK(condition) ::elman::tests::check((condition), __FILE__, __LINE__, #condition)

// Random numbers that are the same everywhere.
class Random {
  public:
    explicit Random(std::uint64_t seed) : state_(seed * 2654435769u + 88172645463325252u) {}
    std::uint64_t bits() {  // splitmix64
        std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }
    Index below(Index n) { return Index(bits() % std::uint64_t(n)); }
    double uniform() { return double(bits() >> 11) * 0x1p-52 - 1; }  // from -1 to 1

  private:
    std::uint64_t state_;
};

template <class T>
constexpr T nothing() {
    if constexpr (std::numeric_limits<T>::has_quiet_NaN) return std::numeric_limits<T>::quiet_NaN();
    return T(-77);
}

enum class Layout { time_first, batch_first, gaps };

// A tensor (steps, rows, width) in a heap block that ends with its last number, so that reading or
// writing one further is seen by AddressSanitizer. Gaps between rows hold `nothing`, and must go on
// doing so.
template <class T>
class Tensor {
  public:
    Tensor() = default;
    Tensor(Index steps, Index rows, Index width, Layout layout = Layout::time_first)
        : steps(steps), rows(rows), width(width) {
        row_ = layout == Layout::batch_first ? steps * width
                                             : width + (layout == Layout::gaps ? 3 : 0);
        step_ = layout == Layout::batch_first ? width
                                              : rows * row_ + (layout == Layout::gaps ? 5 : 0);
        size_ = steps && rows && width ? (steps - 1) * step_ + (rows - 1) * row_ + width : 0;
        data_.reset(new T[size_]);
        std::fill(data_.get(), data_.get() + size_, nothing<T>());
    }
    explicit operator bool() const { return bool(data_); }
    T* data() const { return data_.get(); }
    T& at(Index t, Index r, Index i) const { return data_[t * step_ + r * row_ + i]; }
    Strided<T> strided() const { return {data_.get(), step_, row_}; }
    Strided<const T> constant() const { return {data_.get(), step_, row_}; }

    void fill(Random& random, double scale) {
        for (Index t = 0; t < steps; ++t) {
            for (Index r = 0; r < rows; ++r) {
                for (Index i = 0; i < width; ++i) at(t, r, i) = T(scale * random.uniform());
            }
        }
    }
    // Row r at step t, in double.
    std::vector<double> row(Index t, Index r) const {
        return std::vector<double>(&at(t, r, 0), &at(t, r, 0) + width);
    }
    bool same_bits(const Tensor& other) const {
        return size_ == other.size_ &&
               (size_ == 0 || !std::memcmp(data(), other.data(), size_ * sizeof(T)));
    }
    bool gaps_intact() const {
        std::vector<bool> element(size_);
        for (Index t = 0; t < steps; ++t) {
            for (Index r = 0; r < rows; ++r) {
                for (Index i = 0; i < width; ++i) element[t * step_ + r * row_ + i] = true;
            }
        }
        const T gap = nothing<T>();
        for (Index n = 0; n < size_; ++n) {
            if (!element[n] && std::memcmp(&data_[n], &gap, sizeof gap)) return false;
        }
        return true;
    }

    Index steps = 0, rows = 0, width = 0;

  private:
    Index step_ = 0, row_ = 0, size_ = 0;
    std::unique_ptr<T[]> data_;
};

template <class T>
Tensor<T> copy_of(const Tensor<T>& tensor) {  // of one without gaps
    Tensor<T> copy(tensor.steps, tensor.rows, tensor.width);
    const Index size = tensor.steps * tensor.rows * tensor.width;
    std::copy(tensor.data(), tensor.data() + size, copy.data());
    return copy;
}

// Compares numbers one by one, relative to the largest of all that were expected.
class Close {
  public:
    void add(double found, double expected) {
        const double error = std::fabs(found - expected);
        if (!(error <= error_)) error_ = error;  // a NaN stays
        largest_ = std::fmax(largest_, std::fabs(expected));
    }
    // Largest error, in units of the largest number, or of 1.
    double error() const { return error_ / std::fmax(largest_, 1.0); }

  private:
    double error_ = 0, largest_ = 0;
};

template <class T>
constexpr double tolerance = sizeof(T) == 4 ? 4e-6 : 1e-14;

}  // namespace elman::tests
