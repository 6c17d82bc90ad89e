// A pool of threads that lives as long as the process, for calls of a tenth of a millisecond and
// up.
#pragma once

namespace elman {

// Call f(task) for task = 0 .. tasks - 1, on the calling thread and up to threads - 1 others.
//
// Tasks are taken one by one, so a thread that is late, or never scheduled on a busy machine,
// delays no other: the caller does the remaining tasks itself and waits only for those that have
// begun. While one thread of the program uses the pool, another does all its tasks itself; a forked
// child gets a pool of its own. Results must not depend on the number of threads. Each task runs
// with denormal numbers flushed to zero. An exception from f is thrown again by the caller, after
// the other tasks have ended.
void parallel(int tasks, int threads, void (*f)(void* context, int task), void* context);

template <class F>
void parallel(int tasks, int threads, const F& f) {
    parallel(
        tasks, threads,
        [](void* context, int task) { (*static_cast<const F*>(context))(task); },
        const_cast<F*>(&f));
}

}  // namespace elman
