#include "memory.h"

#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <new>

namespace elman {
namespace {

// Bytes in whole cache lines, or whole large pages from one such page on.
std::size_t rounded(std::size_t bytes, std::size_t* unit) {
    constexpr std::size_t line = 64, page = std::size_t(2) << 20;
    *unit = bytes >= page ? page : line;
    return bytes == 0 ? line : (bytes + *unit - 1) / *unit * *unit;
}

void* allocate(std::size_t bytes, std::size_t unit) {
    void* memory = nullptr;
    if (posix_memalign(&memory, unit, bytes) != 0) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
    if (unit > 64) madvise(memory, bytes, MADV_HUGEPAGE);  // a hint: a refusal changes nothing
#endif
    return memory;
}

std::atomic<bool> poison{false};

// All bits set is a NaN in either precision.
void* hand_out(void* memory, std::size_t bytes) {
    if (poison.load(std::memory_order_relaxed)) std::memset(memory, 0xff, bytes);
    return memory;
}

struct Store {
    std::mutex mutex;
    std::multimap<std::size_t, void*> free;  // by size
    std::size_t bytes = 0;                   // in `free`
};

// Never destroyed: tensors may outlive it at the end of the program.
Store& store() {
    static Store* const store = new Store;
    return *store;
}

}  // namespace

void poison_memory(bool on) { poison.store(on, std::memory_order_relaxed); }

Arena::~Arena() { std::free(memory_); }

void Arena::trim() {
    if (size_ <= retained_limit) return;
    std::free(memory_);
    memory_ = nullptr;
    size_ = 0;
}

void* Arena::reserve(std::size_t bytes) {
    if (memory_ && bytes <= size_) return hand_out(memory_, size_);
    std::free(memory_);
    memory_ = nullptr;
    std::size_t unit;
    size_ = rounded(bytes, &unit);
    memory_ = allocate(size_, unit);
    return hand_out(memory_, size_);
}

RecycledMemory::RecycledMemory(std::size_t bytes) {
    std::size_t unit;
    size_ = rounded(bytes, &unit);
    {
        Store& s = store();
        std::lock_guard<std::mutex> lock(s.mutex);
        // A block up to a quarter too large will do: batches differ a little in length.
        const auto block = s.free.lower_bound(size_);
        if (block != s.free.end() && block->first <= size_ + size_ / 4) {
            size_ = block->first;
            memory_ = block->second;
            s.bytes -= size_;
            s.free.erase(block);
            hand_out(memory_, size_);
            return;
        }
    }
    memory_ = allocate(size_, unit);
    hand_out(memory_, size_);
}

RecycledMemory::~RecycledMemory() {
    {
        Store& s = store();
        std::lock_guard<std::mutex> lock(s.mutex);
        while (s.bytes + size_ > retained_limit && !s.free.empty()) {
            const auto other = s.free.begin()->first == size_ ? std::prev(s.free.end())
                                                              : s.free.begin();
            s.bytes -= other->first;
            std::free(other->second);
            s.free.erase(other);
        }
        if (size_ <= retained_limit) {
            s.free.emplace(size_, memory_);
            s.bytes += size_;
            return;
        }
    }
    std::free(memory_);
}

}  // namespace elman
