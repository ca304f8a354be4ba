// What every kernel shares: the scalar, a few types, and how a kernel is declared.
//
// REAL is float or double. A kernel takes one plain struct; `src/device` passes its bytes, so that the same call
// starts it on a GPU and on the CPU. On the CPU `cuda_on_cpu.h` stands for the compiler's CUDA.
#pragma once

#ifdef ON_CPU
#include "cuda_on_cpu.h"
#endif

#ifndef REAL
#error "compile with -DREAL=float or -DREAL=double"
#endif

typedef REAL real;
typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned char u8;
typedef unsigned long long u64;
typedef long long i64;

// A complex number as it lies in rows: real part, imaginary part.
struct alignas(2 * sizeof(real)) complex {
    real re, im;
};

// KERNEL(name, struct) { ... a ... }: a kernel whose one argument is called `a`.
#ifdef ON_CPU
#define KERNEL(name, arguments)                                                                                        \
    static void name(const arguments &a);                                                                              \
    ON_CPU_EXPORT(name, arguments)                                                                                     \
    static void name(const arguments &a)
#else
#define KERNEL(name, arguments) extern "C" __global__ void name(const __grid_constant__ arguments a)
// DYNAMIC_SHARED(T, name): the shared memory that the launch asked for, as `T *name`; once in a kernel.
#define DYNAMIC_SHARED(T, name)                                                                                        \
    extern __shared__ __align__(16) unsigned char name##_bytes[];                                                      \
    T *name = reinterpret_cast<T *>(name##_bytes)
#endif

// KERNEL_BOUNDED(threads, name, struct): one that is launched with no more than `threads` a block.
#ifdef ON_CPU
#define KERNEL_BOUNDED(threads, name, arguments) KERNEL(name, arguments)
#else
#define KERNEL_BOUNDED(threads, name, arguments)                                                                       \
    extern "C" __global__ __launch_bounds__(threads) void name(const __grid_constant__ arguments a)
#endif

// NVRTC has none of the C library's macros.
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif

#define DEVICE static __device__ __forceinline__

// The thread's number in a one-dimensional grid.
DEVICE u64 thread_number() {
    return (u64)blockIdx.x * blockDim.x + threadIdx.x;
}

DEVICE complex operator+(complex a, complex b) {
    return {a.re + b.re, a.im + b.im};
}

DEVICE complex operator*(complex a, complex b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

DEVICE complex operator*(real a, complex b) {
    return {a * b.re, a * b.im};
}

// a times the conjugate of b.
DEVICE complex times_conjugate(complex a, complex b) {
    return {a.re * b.re + a.im * b.im, a.im * b.re - a.re * b.im};
}

// The nearest integer, half to even. |x| below 2^62.
DEVICE i64 nearest(float x) {
    return __float2ll_rn(x);
}

DEVICE i64 nearest(double x) {
    return __double2ll_rn(x);
}

DEVICE void add_integer(i64 *place, i64 value) {
    atomicAdd(reinterpret_cast<u64 *>(place), (u64)value);
}

// Sum over the 32 threads of a warp; integers, so that the order does not matter. All threads get it.
DEVICE i64 warp_sum(i64 value) {
    for (int step = 16; step > 0; step >>= 1)
        value += __shfl_xor_sync(0xffffffffu, value, step);
    return value;
}
