// Which instruction set's kernels run: decided once, from what the processor says of itself.
#include <atomic>
#include <cstring>

#include "tables.h"

namespace elman {

const Table* const* runnable_tables(int* count) {
    static const Table* tables[3];
    static const int found = [] {
        int n = 0;
#if defined(__x86_64__)
        __builtin_cpu_init();
        tables[n++] = &table_baseline();
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
            __builtin_cpu_supports("bmi2")) {
            tables[n++] = &table_avx2();
            if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512vl")) {
                tables[n++] = &table_avx512();
            }
        }
#elif defined(__aarch64__)
        tables[n++] = &table_neon();
#else
        tables[n++] = &table_baseline();
#endif
        return n;
    }();
    *count = found;
    return tables;
}

static std::atomic<const Table*> chosen{nullptr};

const Table& table() {
    if (const Table* t = chosen.load(std::memory_order_acquire)) return *t;
    int count;
    const Table* const* tables = runnable_tables(&count);
    const Table* best = tables[count - 1];
    chosen.store(best, std::memory_order_release);
    return *best;
}

bool use_table(const char* isa) {
    int count;
    const Table* const* tables = runnable_tables(&count);
    for (int i = 0; i < count; ++i) {
        if (std::strcmp(tables[i]->isa, isa) == 0) {
            chosen.store(tables[i], std::memory_order_release);
            return true;
        }
    }
    return false;
}

}  // namespace elman
