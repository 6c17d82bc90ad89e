// The instruction sets that were compiled in, and the one whose kernels run.
#pragma once

#include "api.h"

namespace elman {

#if defined(__x86_64__)
const InstructionSet& isa_baseline();
const InstructionSet& isa_avx2();
const InstructionSet& isa_avx512();
#elif defined(__aarch64__)
const InstructionSet& isa_neon();
#else
const InstructionSet& isa_baseline();
#endif

// Those this processor can run, slowest first; how many into `count`.
const InstructionSet* const* runnable_isas(int* count);

// The one in use: the fastest that runs here, unless `use_isa` has chosen another.
const InstructionSet& active_isa();

template <class T>
const Kernels<T>& active_kernels() {
    return active_isa().of<T>();
}

// Use the named instruction set from now on; false if it is not compiled in or does not run here.
bool use_isa(const char* name);

}  // namespace elman
