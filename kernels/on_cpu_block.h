// The twin's threads: fibers of one OS thread that change where they wait for each other.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <string>
#include <sys/mman.h>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#include "on_cpu_stack.h"

struct uint3 {
    unsigned x, y, z;
};

// Nameless, so that the libraries of two scalars in one process have nothing in common.
namespace {
namespace cuda_on_cpu {

constexpr unsigned WARP = 32;
constexpr size_t STACK_BYTES = 256 << 10;
// At the far end of each stack; gone when a kernel needed more.
constexpr uint64_t STACK_END = 0x5ca1ab1e0ddba11;
// What shared memory holds before a kernel writes to it, and what a lane gets from one that gives nothing.
constexpr unsigned char UNSPECIFIED = 0xa5;
// The places that CUDA promises for dynamic shared memory.
constexpr size_t SHARED_ALIGNMENT = 1024;
// So few threads are not worth waking others.
constexpr uint64_t FEW_THREADS = 2048;

struct Generator {
    uint64_t state;

    uint64_t next() {
        uint64_t z = state += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }

    uint64_t below(uint64_t n) {
        return next() % n;
    }
};

template <class T> void shuffle(std::vector<T> &items, Generator &generator) {
    for (size_t n = items.size(); n > 1; n--)
        std::swap(items[n - 1], items[generator.below(n)]);
}

struct Stack {
    void *at = nullptr;
    unsigned char *memory = nullptr;
    void *fake = nullptr; // AddressSanitizer's
    unsigned thread = 0;  // the thread that runs on it
};

enum class State : unsigned char { Fresh, Running, AtBarrier, InWarp, Done };

struct Thread {
    uint3 index;
    unsigned number;
    State state;
    unsigned line;
    Stack *stack;
};

// What the lanes of a warp give and get where they meet.
struct Warp {
    unsigned live;
    unsigned meets[WARP]; // the mask a lane waits with, or 0
    unsigned line[WARP];
    uint64_t given[WARP];
    unsigned source[WARP];
    bool vote[WARP];
    uint64_t got[WARP];
    unsigned ballot[WARP];
};

struct Launch {
    const char *kernel;
    uint3 grid, block_shape;
    size_t shared_bytes;
    void (*call)(const void *);
    const void *arguments;
    uint64_t order; // 0: as numbered
    std::vector<uint64_t> blocks; // their order, if shuffled
    std::atomic<uint64_t> next{0};

    uint64_t count() const {
        return uint64_t(grid.x) * grid.y * grid.z;
    }
};

// The block an OS thread is busy with.
struct Block {
    const Launch *launch = nullptr;
    uint3 index{};
    unsigned char *shared = nullptr;
    Thread *current = nullptr;

    std::vector<Thread> threads;
    std::vector<Warp> warps;
    std::vector<unsigned> ready; // taken from `first` on
    size_t first = 0;
    unsigned live = 0, at_barrier = 0;
    bool last_comes_first = false;
    Generator generator{0};
    std::vector<Stack *> stacks, idle;
    Stack host;
    const void *host_bottom = nullptr;
    size_t host_bytes = 0;
    std::vector<unsigned char> shared_memory;

    Block() = default;
    Block(const Block &) = delete;
    inline ~Block();

    inline void run(const Launch &, uint64_t number);
    __attribute__((noinline)) void meet_all(unsigned line);
    __attribute__((noinline)) void meet_warp(unsigned mask, unsigned line, uint64_t given, unsigned source, bool vote);

  private:
    inline Thread *choose();
    inline void start(Thread *);
    inline void leave(State);
    inline void end_thread();
    inline void release_barrier();
    inline void release_warp(Warp &, unsigned warp, unsigned mask);
    inline Stack *new_stack();
    inline void to_stack(Stack *);
    inline void to_host(Stack *);
    inline void arrived(Stack *);
    [[noreturn]] inline void fail(const std::string &what) const;
    static void on_stack();
};

inline Block &own_block() {
    static thread_local Block block;
    return block;
}

// Not of the initial-exec model, quick as it is: with it all shared memory of all kernels would have to fit into the
// few hundred bytes that the loader keeps for libraries that come late.
inline thread_local Block *present = nullptr;

inline Block &block() {
    return *present;
}

inline Thread &thread() {
    return *present->current;
}

inline void Block::fail(const std::string &what) const {
    std::fprintf(stderr, "kernel %s, block (%u, %u, %u): %s\n", launch->kernel, index.x, index.y, index.z, what.c_str());
    std::fflush(stderr);
    std::abort();
}

inline Block::~Block() {
    for (Stack *stack : stacks) {
#if defined(__SANITIZE_ADDRESS__)
        __asan_unpoison_memory_region(stack->memory, STACK_BYTES);
#endif
        munmap(stack->memory, STACK_BYTES);
        delete stack;
    }
}

inline Stack *Block::new_stack() {
    void *memory = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        fail("no memory for the stack of a thread");
    Stack *stack = new Stack;
    stack->memory = static_cast<unsigned char *>(memory);
    std::memcpy(memory, &STACK_END, sizeof STACK_END);
    // What on_cpu_switch_stack takes off: its registers, then the place to go to.
    void **top = reinterpret_cast<void **>(stack->memory + STACK_BYTES);
#if defined(__x86_64__)
    top -= 1; // no caller: a function starts 8 bytes off a multiple of 16
    *--top = reinterpret_cast<void *>(&Block::on_stack);
    top -= 6;
#else
    top -= 20;
    top[11] = reinterpret_cast<void *>(&Block::on_stack);
#endif
    stack->at = top;
    stacks.push_back(stack);
    return stack;
}

inline void Block::to_stack(Stack *stack) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&host.fake, stack->memory, STACK_BYTES);
#endif
    on_cpu_switch_stack(&host.at, stack->at);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(host.fake, nullptr, nullptr);
#endif
}

inline void Block::to_host(Stack *stack) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&stack->fake, host_bottom, host_bytes);
#endif
    on_cpu_switch_stack(&stack->at, host.at);
    arrived(stack);
}

// On a stack, after the host switched to it.
inline void Block::arrived([[maybe_unused]] Stack *stack) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(stack->fake, &host_bottom, &host_bytes);
#endif
}

// Runs threads to their ends, one after another, as long as fresh ones are next.
inline void Block::on_stack() {
    Block &block = *present;
    Stack *stack = block.current->stack;
    block.arrived(stack);
    for (;;) {
        block.launch->call(block.launch->arguments);
        block.end_thread();
        uint64_t end;
        std::memcpy(&end, stack->memory, sizeof end);
        if (end != STACK_END)
            block.fail("a thread needed more stack than there is");
        Thread *next = block.choose();
        if (next && next->state == State::Fresh) {
            next->state = State::Running;
            next->stack = stack;
            block.current = next;
            continue;
        }
        block.idle.push_back(stack);
        block.current = next;
        block.to_host(stack);
    }
}

// The next thread to go on, or none.
inline Thread *Block::choose() {
    if (first == ready.size()) {
        first = 0;
        ready.clear();
        return nullptr;
    }
    if (!launch->order)
        return &threads[ready[first++]];
    size_t at = last_comes_first ? ready.size() - 1 : first + generator.below(ready.size() - first);
    std::swap(ready[at], ready.back());
    Thread *chosen = &threads[ready.back()];
    ready.pop_back();
    return chosen;
}

inline void Block::run(const Launch &of, uint64_t number) {
    launch = &of;
    present = this;
    index = {unsigned(number % of.grid.x), unsigned(number / of.grid.x % of.grid.y),
             unsigned(number / of.grid.x / of.grid.y)};
    uint3 shape = of.block_shape;
    unsigned count = shape.x * shape.y * shape.z;
    threads.resize(count);
    ready.resize(count);
    for (unsigned n = 0; n < count; n++)
        threads[n] = {{n % shape.x, n / shape.x % shape.y, n / shape.x / shape.y}, n, State::Fresh, 0, nullptr};
    std::iota(ready.begin(), ready.end(), 0);
    first = 0;
    live = count;
    at_barrier = 0;
    if (of.order) {
        generator.state = of.order * 0x100000001b3 + number;
        shuffle(ready, generator);
        last_comes_first = generator.below(2);
    }
    warps.resize((count + WARP - 1) / WARP);
    for (unsigned w = 0; w < warps.size(); w++) {
        std::memset(&warps[w], 0, sizeof(Warp));
        unsigned lanes = std::min(WARP, count - w * WARP);
        warps[w].live = lanes == WARP ? ~0u : (1u << lanes) - 1;
    }
    shared_memory.resize(of.shared_bytes + SHARED_ALIGNMENT);
    std::fill(shared_memory.begin(), shared_memory.end(), UNSPECIFIED);
    uintptr_t begin = reinterpret_cast<uintptr_t>(shared_memory.data());
    shared = reinterpret_cast<unsigned char *>((begin + SHARED_ALIGNMENT - 1) / SHARED_ALIGNMENT * SHARED_ALIGNMENT);
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(shared_memory.data(), shared_memory.size());
    __asan_poison_memory_region(shared + of.shared_bytes, shared_memory.data() + shared_memory.size() - shared - of.shared_bytes);
#endif

    current = choose();
    while (live > 0) {
        if (!current) {
            unsigned in_warps = std::count_if(threads.begin(), threads.end(), [](const Thread &t) { return t.state == State::InWarp; });
            std::string lines;
            for (const Thread &t : threads)
                if (t.state == State::AtBarrier || t.state == State::InWarp) {
                    lines = ", one at line " + std::to_string(t.line);
                    break;
                }
            fail("not all threads reach a barrier: of " + std::to_string(count) + " threads " + std::to_string(count - live) +
                 " have ended, " + std::to_string(at_barrier) + " wait at __syncthreads, " + std::to_string(in_warps) +
                 " wait for their warp" + lines);
        }
        start(current);
    }
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(shared_memory.data(), shared_memory.size());
#endif
    present = nullptr;
}

// Lets a thread go on until one waits and none that is fresh follows.
inline void Block::start(Thread *thread) {
    if (thread->state == State::Fresh) {
        Stack *stack;
        if (idle.empty()) {
            stack = new_stack();
        } else {
            stack = idle.back();
            idle.pop_back();
        }
        thread->stack = stack;
    }
    thread->state = State::Running;
    to_stack(thread->stack);
}

// The present thread waits in this state until it is released.
inline void Block::leave(State state) {
    Thread *self = current;
    self->state = state;
    current = choose();
    if (current != self)
        to_host(self->stack);
}

inline void Block::end_thread() {
    Thread *self = current;
    self->state = State::Done;
    live--;
    unsigned w = self->number / WARP;
    Warp &warp = warps[w];
    warp.live &= ~(1u << (self->number % WARP));
    for (unsigned lane = 0; lane < WARP; lane++)
        if (warp.meets[lane])
            release_warp(warp, w, warp.meets[lane]);
    release_barrier();
}

inline void Block::release_barrier() {
    if (at_barrier == 0 || at_barrier < live)
        return;
    at_barrier = 0;
    if (first > threads.size()) {
        ready.erase(ready.begin(), ready.begin() + first);
        first = 0;
    }
    for (Thread &thread : threads)
        if (thread.state == State::AtBarrier) {
            thread.state = State::Running;
            ready.push_back(thread.number);
        }
}

void Block::meet_all(unsigned line) {
    for (Thread *other = threads.data(); at_barrier > 0 && other < threads.data() + threads.size(); other++)
        if (other->state == State::AtBarrier) {
            if (other->line != line)
                fail("threads wait at different barriers: lines " + std::to_string(other->line) + " and " + std::to_string(line));
            break;
        }
    Thread *self = current;
    self->line = line;
    self->state = State::AtBarrier;
    at_barrier++;
    release_barrier();
    leave(self->state);
}

// Lanes with the same mask go on when all live lanes of it are here.
inline void Block::release_warp(Warp &warp, unsigned number, unsigned mask) {
    unsigned here = mask & warp.live;
    unsigned ballot = 0;
    for (unsigned lane = 0; lane < WARP; lane++)
        if (here >> lane & 1) {
            if (warp.meets[lane] != mask)
                return;
            ballot |= unsigned(warp.vote[lane]) << lane;
        }
    for (unsigned lane = 0; lane < WARP; lane++) {
        if (!(here >> lane & 1))
            continue;
        std::memset(&warp.got[lane], UNSPECIFIED, sizeof(uint64_t));
        if (here >> warp.source[lane] & 1)
            warp.got[lane] = warp.given[warp.source[lane]];
        warp.ballot[lane] = ballot;
        warp.meets[lane] = 0;
        threads[number * WARP + lane].state = State::Running;
        ready.push_back(number * WARP + lane);
    }
}

void Block::meet_warp(unsigned mask, unsigned line, uint64_t given, unsigned source, bool vote) {
    Thread *self = current;
    unsigned lane = self->number % WARP, number = self->number / WARP;
    if (!(mask >> lane & 1))
        fail("line " + std::to_string(line) + ": a lane is not in its own mask");
    Warp &warp = warps[number];
    self->line = line;
    self->state = State::InWarp;
    warp.meets[lane] = mask;
    warp.given[lane] = given;
    warp.source[lane] = source % WARP;
    warp.vote[lane] = vote;
    release_warp(warp, number, mask);
    leave(self->state);
}

} // namespace cuda_on_cpu
} // namespace
