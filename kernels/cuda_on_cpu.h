// The twin of CUDA C++ on the CPU: what the kernels use of it, so that tests run them without a GPU.
//
// Blocks are spread over OS threads. The threads of a block are fibers of one OS thread that change only where they
// wait for each other: a kernel without barriers runs as plain calls. The order of blocks and threads can be shuffled, so
// that missing barriers and sums that depend on the order show.
#pragma once

#include <cmath>
#include <condition_variable>
#include <math.h>
#include <mutex>
#include <source_location>
#include <thread>

#include "on_cpu_block.h"

#define __global__
#define __device__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __align__(n) alignas(n)
// One block at a time is on an OS thread, and its fibers never leave it.
#define __shared__ static thread_local

#define DYNAMIC_SHARED(T, name) T *name = reinterpret_cast<T *>(cuda_on_cpu::block().shared)

#define ON_CPU_VECTOR(T, name)                                                                                         \
    struct alignas(2 * sizeof(T)) name##2 {                                                                            \
        T x, y;                                                                                                        \
    };                                                                                                                 \
    struct alignas(4 * sizeof(T) < 16 ? 4 * sizeof(T) : 16) name##4 {                                                  \
        T x, y, z, w;                                                                                                  \
    };                                                                                                                 \
    static inline name##2 make_##name##2(T x, T y) {                                                                   \
        return {x, y};                                                                                                 \
    }                                                                                                                  \
    static inline name##4 make_##name##4(T x, T y, T z, T w) {                                                         \
        return {x, y, z, w};                                                                                           \
    }
ON_CPU_VECTOR(float, float)
ON_CPU_VECTOR(double, double)
ON_CPU_VECTOR(int, int)
ON_CPU_VECTOR(unsigned, uint)
#undef ON_CPU_VECTOR

// ---- Launches -----------------------------------------------------------------------------------------------------

namespace {
namespace cuda_on_cpu {

inline uint64_t from_environment(const char *name, uint64_t otherwise) {
    const char *text = std::getenv(name);
    return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}

inline void work_at(Launch &launch) {
    uint64_t count = launch.count();
    for (uint64_t at; (at = launch.next++) < count;)
        own_block().run(launch, launch.blocks.empty() ? at : launch.blocks[at]);
}

// OS threads that live as long as the process. One launch at a time.
class Crew {
  public:
    static Crew &get() {
        // Never destroyed: its threads may outlive main.
        static Crew *crew = new Crew;
        return *crew;
    }

    void run(Launch &launch) {
        std::lock_guard<std::mutex> alone(one_launch);
        uint64_t threads = uint64_t(launch.block_shape.x) * launch.block_shape.y * launch.block_shape.z;
        if (launch.count() > 1 && launch.count() * threads > FEW_THREADS && helpers > 0) {
            {
                std::lock_guard<std::mutex> hold(lock);
                present = &launch;
                busy = helpers;
                round++;
            }
            wake.notify_all();
            work_at(launch);
            std::unique_lock<std::mutex> hold(lock);
            done.wait(hold, [&] { return busy == 0; });
            present = nullptr;
        } else {
            work_at(launch);
        }
    }

  private:
    Crew() {
        uint64_t all = from_environment("RELION_RS_KERNEL_THREADS", std::max(1u, std::thread::hardware_concurrency()));
        for (helpers = 0; helpers + 1 < all; helpers++)
            std::thread([this] { help(); }).detach();
    }

    void help() {
        for (uint64_t seen = 0;;) {
            std::unique_lock<std::mutex> hold(lock);
            wake.wait(hold, [&] { return round != seen; });
            seen = round;
            Launch *launch = present;
            hold.unlock();
            work_at(*launch);
            hold.lock();
            if (--busy == 0)
                done.notify_one();
        }
    }

    std::mutex one_launch, lock;
    std::condition_variable wake, done;
    Launch *present = nullptr;
    uint64_t helpers = 0, busy = 0, round = 0;
};

// A kernel of this library. `src/device/on_cpu` reads these.
struct Kernel {
    const char *name;
    uint64_t arguments_size;
    void (*call)(const void *);
    const Kernel *next;
};

inline const Kernel *kernels = nullptr;

inline Kernel registered(const char *name, uint64_t size, void (*call)(const void *), const Kernel *place) {
    const Kernel *earlier = kernels;
    kernels = place;
    return {name, size, call, earlier};
}

// Values travel between lanes as 64 bits.
template <class T> inline uint64_t to_bits(T value) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(uint64_t), "a lane gives at most 8 bytes");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    return bits;
}

template <class T> inline T of_bits(uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof(T));
    return value;
}

inline Warp &warp() {
    return block().warps[thread().number / WARP];
}

inline unsigned lane() {
    return thread().number % WARP;
}

template <class T> inline T exchange(unsigned mask, T value, unsigned source, std::source_location here) {
    block().meet_warp(mask, here.line(), to_bits(value), source, false);
    return of_bits<T>(warp().got[lane()]);
}

inline unsigned ballot(unsigned mask, bool vote, std::source_location here) {
    block().meet_warp(mask, here.line(), 0, lane(), vote);
    return warp().ballot[lane()];
}

} // namespace cuda_on_cpu
} // namespace

#define ON_CPU_EXPORT(name, arguments)                                                                                 \
    static const cuda_on_cpu::Kernel name##_registered = cuda_on_cpu::registered(                                      \
        #name, sizeof(arguments), [](const void *a) { name(*static_cast<const arguments *>(a)); }, &name##_registered);

// The kernel of a name, or null.
extern "C" const void *on_cpu_find(const char *name) {
    const cuda_on_cpu::Kernel *kernel = cuda_on_cpu::kernels;
    while (kernel && std::strcmp(kernel->name, name) != 0)
        kernel = kernel->next;
    return kernel;
}

// Runs it to its end. `shape`: blocks, threads. `order`: 0, or the seed that shuffles blocks and threads.
extern "C" void on_cpu_launch(
    const void *found, const unsigned shape[6], uint64_t shared_bytes, uint64_t order, const void *arguments) {
    auto kernel = static_cast<const cuda_on_cpu::Kernel *>(found);
    cuda_on_cpu::Launch launch{kernel->name, {shape[0], shape[1], shape[2]}, {shape[3], shape[4], shape[5]}, shared_bytes,
                               kernel->call, arguments, order, {}};
    if (order) {
        cuda_on_cpu::Generator generator{order};
        launch.blocks.resize(launch.count());
        std::iota(launch.blocks.begin(), launch.blocks.end(), 0);
        cuda_on_cpu::shuffle(launch.blocks, generator);
    }
    cuda_on_cpu::Crew::get().run(launch);
}

#define threadIdx (cuda_on_cpu::thread().index)
#define blockIdx (cuda_on_cpu::block().index)
#define blockDim (cuda_on_cpu::block().launch->block_shape)
#define gridDim (cuda_on_cpu::block().launch->grid)
#define warpSize 32

#include "on_cpu_functions.h"
