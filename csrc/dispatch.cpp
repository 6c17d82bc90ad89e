#include "dispatch.h"

#include <atomic>
#include <cstring>

namespace elman {

const InstructionSet* const* runnable_isas(int* count) {
    static const InstructionSet* isas[3];
    static const int found = [] {
        int n = 0;
#if defined(__x86_64__)
        // Each list is the -march level of CMakeLists.txt, as far as GCC and Clang can ask for it.
        __builtin_cpu_init();
        isas[n++] = &isa_baseline();
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
            __builtin_cpu_supports("bmi2")) {
            isas[n++] = &isa_avx2();
            if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512vl")) {
                isas[n++] = &isa_avx512();
            }
        }
#elif defined(__aarch64__)
        isas[n++] = &isa_neon();
#else
        isas[n++] = &isa_baseline();
#endif
        return n;
    }();
    *count = found;
    return isas;
}

static std::atomic<const InstructionSet*> chosen{nullptr};

const InstructionSet& active_isa() {
    if (const InstructionSet* isa = chosen.load(std::memory_order_acquire)) return *isa;
    int count;
    const InstructionSet* best = runnable_isas(&count)[count - 1];
    chosen.store(best, std::memory_order_release);
    return *best;
}

bool use_isa(const char* name) {
    int count;
    const InstructionSet* const* isas = runnable_isas(&count);
    for (int i = 0; i < count; ++i) {
        if (std::strcmp(isas[i]->name, name) == 0) {
            chosen.store(isas[i], std::memory_order_release);
            return true;
        }
    }
    return false;
}

}  // namespace elman
