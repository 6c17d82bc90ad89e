// The chunks' gradients added up, always in the order of the chunks.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "memory.h"

namespace elman {

// Parts may be finished in any order and on any thread, and each is added once all before it are: the
// bits of the sum do not depend on who was first. A part's numbers are handed on when it is added, so
// that there are hardly more of them at a time than threads.
template <class T>
class OrderedSum {
  public:
    // parts > 0 arrays of `size` numbers each.
    OrderedSum(std::ptrdiff_t size, std::ptrdiff_t parts) : size_(size), waiting_(parts) {}

    // Room for one part; what stands there is to be overwritten.
    T* begin() {
        std::lock_guard<std::mutex> lock(mutex_);
        if (!free_.empty()) {
            T* const room = free_.back();
            free_.pop_back();
            return room;
        }
        memory_.push_back(std::make_unique<Recycled>(size_ * sizeof(T)));
        return static_cast<T*>(memory_.back()->data());
    }

    // This part is complete.
    void end(std::ptrdiff_t part, T* room) {
        std::lock_guard<std::mutex> lock(mutex_);
        waiting_[part] = room;
        for (; next_ < std::ptrdiff_t(waiting_.size()) && waiting_[next_]; ++next_) {
            T* const from = waiting_[next_];
            if (next_ == 0) continue;  // the sum begins as part 0
            T* const to = waiting_[0];
            for (std::ptrdiff_t i = 0; i < size_; ++i) to[i] += from[i];
            free_.push_back(from);
        }
    }

    const T* total() const { return waiting_[0]; }

  private:
    const std::ptrdiff_t size_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<Recycled>> memory_;
    std::vector<T*> free_, waiting_;
    std::ptrdiff_t next_ = 0;
};

}  // namespace elman
