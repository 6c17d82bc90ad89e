// Memory that is used again. Fresh pages cost more than the arithmetic of a small layer: the system
// clears each at first touch, and the C library gives large blocks back as soon as they are freed.
#pragma once

#include <cstddef>

namespace elman {

// Aligned memory that is kept by its thread from call to call and grows as needed.
class Arena {
  public:
    ~Arena();
    // Give it back if it is more than `kept_limit`.
    void trim();
    // Room for n numbers, aligned to a cache line; what was there before is lost.
    template <class T>
    T* numbers(std::ptrdiff_t n) {
        return static_cast<T*>(reserve(n * sizeof(T)));
    }

  private:
    void* reserve(std::size_t bytes);

    void* memory_ = nullptr;
    std::size_t size_ = 0;
};

// Aligned memory from a store that all threads share; destroying it gives it back to the store, which
// keeps at most `kept_limit` bytes: what comes last stays, other sizes make room.
class Recycled {
  public:
    explicit Recycled(std::size_t bytes);
    ~Recycled();
    Recycled(const Recycled&) = delete;
    Recycled& operator=(const Recycled&) = delete;
    void* data() const { return memory_; }

  private:
    void* memory_;
    std::size_t size_;
};

// For tests: fill memory with NaN each time it is handed out, so that reading what nobody wrote shows.
void poison_memory(bool on);

constexpr std::size_t kept_limit = std::size_t(256) << 20;

}  // namespace elman
