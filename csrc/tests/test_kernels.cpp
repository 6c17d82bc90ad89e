// The kernels against naive loops, as a plain program: `make sanitize` runs it under
// AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer. tests/ops/test_native_*.py asks
// more of the numbers.
//
// Every tensor is a heap block of its own that ends with its last number, and working memory is
// full of NaN. Exits with 1, naming check and case, if anything is wrong.
#include <sys/wait.h>
#include <unistd.h>

#include <stdexcept>
#include <thread>

#include "layer_tests.h"
#include "network_tests.h"
#include "pool.h"

namespace elman::tests {
namespace {

// Enough rows for several chunks and enough work for threads.
Case large_case(Cell cell, std::uint64_t seed) {
    Case c;
    c.layer = {cell, 8, 40, seed % 2 == 1, cell == Cell::lstm ? 20 : 0};
    c.B = 67;
    c.T = cell == Cell::gru || cell == Cell::lstm ? 60 : 170;
    Random random(seed);
    for (Index b = 0; b < c.B; ++b) c.lengths.push_back(c.T / 2 + random.below(c.T / 2 + 1));
    c.seed = seed;
    return c;
}

NetworkCase large_network(Cell cell) {
    NetworkCase c;
    c.net = network(cell, inputs[4], 40, 2, 2, 3, Readout::mean);
    c.B = 50;
    c.T = 30;
    c.ragged = c.dropout = c.weighted = c.bias = true;
    c.loss = Loss::cross_entropy;
    c.seed = 4;
    c.states = true;
    return c;
}

template <class T>
void test_numbers_of_threads() {
    for (const Cell cell : cells) {
        const Problem<T> p(large_case(cell, 2));
        trying = p.c.text(active_isa().name, sizeof(T) == 8) + " threads";
        const Results<T> one = solve(p, 1);
        compare(p, one);
        for (const int threads : {2, 3, 4, 7, 2}) CHECK(solve(p, threads).same_bits(one));
        for (const int threads : {1, 2, 5}) {
            CHECK(solve(p, threads, false).y.same_bits(one.y));
        }
    }
    NetworkProblem<T> one(large_network(Cell::gru));
    const double loss = one.run(1, true);
    for (const int threads : {2, 3, 4}) {
        NetworkProblem<T> many(large_network(Cell::gru));
        CHECK(many.run(threads, true) == loss);
        CHECK(many.same_bits(one));
    }
}

// Threads of the program that call at once: one of them gets the pool, the others do without.
void test_callers_at_once() {
#if defined(__SANITIZE_THREAD__)
    constexpr int callers = 4, rounds = 4;  // it sees what might have happened
#else
    constexpr int callers = 4, rounds = 40;
#endif
    std::vector<Problem<float>> problems;
    std::vector<Results<float>> alone;
    for (int i = 0; i < callers; ++i) {
        problems.emplace_back(large_case(cells[i], std::uint64_t(i)));
        alone.push_back(solve(problems.back(), 1));
    }
    NetworkProblem<float> network(large_network(Cell::lstm));
    network.run(1, true);
    std::vector<std::thread> threads;
    for (int i = 0; i < callers; ++i) {
        threads.emplace_back([&, i] {
            trying = "callers at once";
            for (int n = 0; n < rounds; ++n) {
                const int k = (i + n) % callers;  // problems are shared, results are not
                CHECK(solve(problems[k], 1 + (i + n) % 4).same_bits(alone[k]));
                RecycledMemory memory(std::size_t(1000) << (n % 3));
                std::memset(memory.data(), n, 1000);
            }
            NetworkProblem<float> mine(large_network(Cell::lstm));
            mine.run(3, true);
            CHECK(mine.same_bits(network));
        });
    }
    for (std::thread& t : threads) t.join();
}

// Every task once, whatever the numbers, and the caller's mode of arithmetic as it was.
void test_pool() {
    trying = "pool";
    const volatile float tiny = 1e-30f;
    for (const int tasks : {0, 1, 2, 5, 16, 100}) {
        for (const int threads : {1, 2, 3, 8}) {
            std::vector<std::atomic<int>> times(tasks);
            std::atomic<int> flushed{0};
            parallel(tasks, threads, [&](int i) {
                ++times[i];
                if (tiny * 1e-10f == 0) ++flushed;
            });
            for (const auto& n : times) CHECK(n == 1);
#if defined(__x86_64__) || defined(__aarch64__)
            CHECK(flushed == tasks);
#endif
            CHECK(tiny * 1e-10f > 0);
        }
    }
    for (int round = 0; round < 20; ++round) {  // so little to do that threads meet all the time
        std::vector<std::atomic<int>> times(5000);
        parallel(5000, 2 + round % 3, [&](int i) { ++times[i]; });
        int once = 0;
        for (const auto& n : times) once += n == 1;
        CHECK(once == 5000);
    }
}

// What a task throws reaches the caller, once no thread works on its tasks.
void test_failing_task() {
    trying = "failing task";
    for (const int threads : {1, 2, 4}) {
        std::atomic<int> running{0}, done{0};
        int caught = 0;
        try {
            parallel(20, threads, [&](int i) {
                ++running;
                if (i == 3 || i == 4) {
                    --running;
                    throw std::out_of_range("as asked for");
                }
                std::this_thread::yield();
                --running;
            });
        } catch (const std::out_of_range&) {
            ++caught;
        }
        CHECK(caught == 1 && running == 0);
        parallel(20, threads, [&](int) { ++done; });
        CHECK(done == 20);
    }
}

// A child of fork() has the pool's memory and none of its threads.
void test_fork() {
#if !defined(__SANITIZE_THREAD__)  // it does not support threads after fork
    trying = "fork";
    const Problem<float> p(large_case(Cell::gru, 1));
    const Results<float> here = solve(p, 3);
    for (int i = 0; i < 3; ++i) {
        std::fflush(nullptr);
        const pid_t child = fork();
        if (child == 0) {
            const bool same = solve(p, 3).same_bits(here) && solve(p, 1).same_bits(here);
            _exit(same ? 0 : 1);
        }
        int status = 1;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
        CHECK(solve(p, 3).same_bits(here));
    }
#endif
}

void test_lengths_out_of_range() {
    trying = "lengths out of range";
    for (const std::int64_t wrong : {std::int64_t(-1), std::int64_t(6), std::int64_t(1) << 40}) {
        const std::int64_t lengths[] = {5, wrong, 0};
        bool raised = false;
        try {
            Batch(3, 5, lengths, 1);
        } catch (const std::out_of_range&) {
            raised = true;
        }
        CHECK(raised);
    }
}

template <class T>
void test_numbers(int layers, int networks) {
    test_layers<T>(layers);
    test_long_layers<T>(70);
    test_alone_and_in_a_batch<T>();
    test_networks<T>(networks);
}

}  // namespace
}  // namespace elman::tests

// Arguments: random cases a cell of layers and of networks, 60 and 12 unless given.
int main(int count, char** arguments) {
    using namespace elman;
    using namespace elman::tests;
#if defined(__SANITIZE_THREAD__)
    constexpr int few_layers = 4, few_networks = 1;  // 20 times slower, and one thread runs most
#else
    constexpr int few_layers = 60, few_networks = 12;
#endif
    const int layers = count > 1 ? std::atoi(arguments[1]) : few_layers;
    const int networks = count > 2 ? std::atoi(arguments[2]) : few_networks;
    poison_memory(true);
    test_naive_layer();
    test_naive_network();
    test_pool();
    test_failing_task();
    test_lengths_out_of_range();
    int isas;
    const InstructionSet* const* all = runnable_isas(&isas);
    for (int i = 0; i < isas; ++i) {
        use_isa(all[i]->name);
        test_numbers<float>(layers, networks);
        test_numbers<double>(layers, networks);
        test_numbers_of_threads<float>();
    }
    test_numbers_of_threads<double>();
    test_callers_at_once();
    test_fork();
    std::printf("%ld checks, %ld failed, kernels:", checked.load(), failed.load());
    for (int i = 0; i < isas; ++i) std::printf(" %s", all[i]->name);
    std::printf("\n");
    return failed ? 1 : 0;
}
