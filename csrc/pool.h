// A pool of threads that lives as long as the process, for calls of a tenth of a millisecond and up.
#pragma once

namespace elman {

// Call f(task) for task = 0 .. tasks - 1, on the calling thread and up to threads - 1 others.
//
// Tasks are taken one by one, so a thread that is late, or never scheduled on a busy machine, holds
// nobody up: the caller does what is left itself and waits only for tasks that have begun. If another
// thread of the program is using the pool, or after a fork, the caller does all of them: whatever
// depends on the number of threads, results must not. Each task runs with denormal numbers flushed
// to zero; f must not throw.
void parallel(int tasks, int threads, void (*f)(void* context, int task), void* context);

template <class F>
void parallel(int tasks, int threads, const F& f) {
    parallel(
        tasks, threads,
        [](void* context, int task) { (*static_cast<const F*>(context))(task); },
        const_cast<F*>(&f));
}

}  // namespace elman
