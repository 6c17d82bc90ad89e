#include "pool.h"

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace elman {
namespace {

// Gradients that vanish over many steps become denormal, on which some processors are a hundred
// times slower. Flushed to zero while a task runs; the caller's mode is restored.
class FlushDenormals {
  public:
#if defined(__x86_64__)
    FlushDenormals() : mode_(_mm_getcsr()) { _mm_setcsr(mode_ | 0x8040); }
    ~FlushDenormals() { _mm_setcsr(mode_); }

  private:
    const unsigned mode_;
#elif defined(__aarch64__)
    FlushDenormals() {
        asm volatile("mrs %0, fpcr" : "=r"(mode_));
        asm volatile("msr fpcr, %0" : : "r"(mode_ | (1ull << 24)));
    }
    ~FlushDenormals() { asm volatile("msr fpcr, %0" : : "r"(mode_)); }

  private:
    unsigned long long mode_;
#else
    FlushDenormals() {}
#endif
};

class Pool {
  public:
    void run(int tasks, int threads, void (*f)(void*, int), void* context) {
        std::unique_lock<std::mutex> use(in_use_, std::try_to_lock);
        if (!use.owns_lock()) threads = 1;
        const int helpers = (threads < tasks ? threads : tasks) - 1;
        if (helpers > 0) {
            std::lock_guard<std::mutex> lock(mutex_);
            start_workers(helpers);
            f_ = f;
            context_ = context;
            tasks_ = tasks;
            next_.store(0, std::memory_order_relaxed);
            helpers_called_ = helpers;
        }
        if (helpers <= 0) {
            const FlushDenormals flush;
            for (int task = 0; task < tasks; ++task) f(context, task);
            return;
        }
        if (helpers == 1) {
            wake_.notify_one();
        } else {
            wake_.notify_all();
        }
        run_tasks();
        std::unique_lock<std::mutex> lock(mutex_);
        helpers_called_ = 0;  // a helper that has not woken up yet finds nothing to do
        done_.wait(lock, [this] { return busy_ == 0; });
        if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    }

  private:
    // Up to `helpers` workers, or as many as the system allows.
    void start_workers(int helpers) {
        try {
            for (; workers_ < helpers; ++workers_) std::thread([this] { work(); }).detach();
        } catch (const std::system_error&) {
        }
    }

    void run_tasks() {
        const FlushDenormals flush;
        for (;;) {
            const int task = next_.fetch_add(1, std::memory_order_relaxed);
            if (task >= tasks_) return;
            try {
                f_(context_, task);
            } catch (...) {
                std::lock_guard<std::mutex> lock(mutex_);
                failure_ = std::current_exception();
            }
        }
    }

    void work() {
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            wake_.wait(lock, [this] { return helpers_called_ > 0; });
            --helpers_called_;
            ++busy_;
            lock.unlock();
            run_tasks();
            lock.lock();
            if (--busy_ == 0) done_.notify_one();
        }
    }

    std::mutex in_use_;  // held by the caller whose tasks these are
    std::mutex mutex_;   // guards what follows
    std::condition_variable wake_, done_;
    int workers_ = 0, helpers_called_ = 0, busy_ = 0, tasks_ = 0;
    void (*f_)(void*, int) = nullptr;
    void* context_ = nullptr;
    std::exception_ptr failure_;
    std::atomic<int> next_{0};
};

// Never destroyed: its threads may still wait when the program ends.
std::atomic<Pool*> pool{nullptr};

Pool& the_pool() {
    Pool* p = pool.load(std::memory_order_acquire);
    if (p) return *p;
    Pool* fresh = new Pool;
    if (pool.compare_exchange_strong(p, fresh, std::memory_order_acq_rel)) {
        static std::once_flag once;
        // A forked child has the pool's memory but not its threads: it gets a pool of its own.
        std::call_once(once, [] { pthread_atfork(nullptr, nullptr, [] { pool.store(nullptr); }); });
        return *fresh;
    }
    delete fresh;
    return *p;
}

}  // namespace

void parallel(int tasks, int threads, void (*f)(void*, int), void* context) {
    if (threads <= 1 || tasks <= 1) {
        const FlushDenormals flush;
        for (int task = 0; task < tasks; ++task) f(context, task);
        return;
    }
    the_pool().run(tasks, threads, f, context);
}

}  // namespace elman
