// The tables of kernels that were compiled in; `best_table` is the one this processor should run.
#pragma once

#include "api.h"

namespace elman {

#if defined(__x86_64__)
const Table& table_baseline();
const Table& table_avx2();
const Table& table_avx512();
#elif defined(__aarch64__)
const Table& table_neon();
#else
const Table& table_baseline();
#endif

// Tables this processor can run, slowest first; their number into `count`.
const Table* const* runnable_tables(int* count);

// The table in use: the fastest that runs here, unless `use_table` has chosen another.
const Table& table();

// Use the named instruction set from now on; false if it is not compiled in or does not run here.
bool use_table(const char* isa);

}  // namespace elman
