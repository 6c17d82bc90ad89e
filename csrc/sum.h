// The chunks' gradients added up, always in the order of the chunks.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "memory.h"

namespace elman {

// Chunks may finish in any order and on any thread, and each is added once all before it are: the
// bits of the sum do not depend on which was first. A chunk's memory is used for another once it is
// added, so that there are about as many arrays, each as large as all weights, as threads at work.
template <class T>
class OrderedSum {
  public:
    // chunks > 0 arrays of `size` elements each.
    OrderedSum(std::ptrdiff_t size, std::ptrdiff_t chunks) : size_(size), waiting_(chunks) {}

    // Uninitialised memory for one chunk.
    T* begin() {
        std::lock_guard<std::mutex> lock(mutex_);
        if (!free_.empty()) {
            T* const memory = free_.back();
            free_.pop_back();
            return memory;
        }
        memory_.push_back(std::make_unique<RecycledMemory>(size_ * sizeof(T)));
        return static_cast<T*>(memory_.back()->data());
    }

    // This chunk's gradients are complete.
    void end(std::ptrdiff_t chunk, T* gradients) {
        std::lock_guard<std::mutex> lock(mutex_);
        waiting_[chunk] = gradients;
        for (; next_ < std::ptrdiff_t(waiting_.size()) && waiting_[next_]; ++next_) {
            T* const from = waiting_[next_];
            if (next_ == 0) continue;  // the sum begins as chunk 0's
            T* const to = waiting_[0];
            for (std::ptrdiff_t i = 0; i < size_; ++i) to[i] += from[i];
            free_.push_back(from);
        }
    }

    const T* total() const { return waiting_[0]; }

  private:
    const std::ptrdiff_t size_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<RecycledMemory>> memory_;
    std::vector<T*> free_, waiting_;
    std::ptrdiff_t next_ = 0;
};

}  // namespace elman
