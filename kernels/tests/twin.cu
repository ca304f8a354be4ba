// Kernels that test the twin of CUDA itself; no part of the program. They are compiled for GPUs too: what the twin
// offers must be CUDA's.
#include "kernel.cuh"

struct TwinArguments {
    const u32 *values;
    u64 *results;
    u32 count, mode;
};

// results[block] = sum of the block's values, by warps and dynamic shared memory; results[last] = largest of all.
KERNEL_BOUNDED(256, twin_sum, TwinArguments) {
    DYNAMIC_SHARED(u64, of_warp);
    __shared__ u32 largest;
    u32 n = thread_number();
    u32 value = n < a.count ? a.values[n] : 0;
    if (threadIdx.x == 0)
        largest = 0;
    __syncthreads();
    atomicMax(&largest, value);
    u64 sum = warp_sum(value);
    if (threadIdx.x % warpSize == 0)
        of_warp[threadIdx.x / warpSize] = sum;
    __syncthreads();
    if (threadIdx.x != 0)
        return;
    sum = 0;
    for (u32 w = 0; w < (blockDim.x + warpSize - 1) / warpSize; w++)
        sum += of_warp[w];
    a.results[blockIdx.x] = sum;
    atomicMax(&a.results[gridDim.x], (u64)largest);
}

// Lanes give and get values: results[thread * 8 + i].
KERNEL(twin_warp, TwinArguments) {
    u32 n = threadIdx.x, lane = n % 32;
    u64 *r = a.results + n * 8;
    u32 all = 0xffffffffu;
    r[0] = __shfl_sync(all, n, lane + 3, 8);
    r[1] = __shfl_up_sync(all, n, 2, 16);
    r[2] = __shfl_down_sync(all, (double)n, 5);
    r[3] = __shfl_xor_sync(all, (u64)n << 40, 9);
    r[4] = __ballot_sync(all, lane % 3 == 0);
    r[5] = __any_sync(all, lane == 31) * 2 + __all_sync(all, lane < 31);
    // Halves of a warp on ways of their own.
    u32 half = lane < 16 ? 0x0000ffffu : 0xffff0000u;
    u32 value = n;
    for (u32 turn = 0; turn < (lane < 16 ? 3u : 1u); turn++)
        value = __shfl_xor_sync(half, value + 1, 1);
    r[6] = value;
    if (lane >= 20)
        return;
    // The others have ended.
    r[7] = __ballot_sync(0x000fffffu, lane & 1);
    __syncwarp(0x000fffffu);
}

// Reads what a neighbour wrote; mode 0 forgets the barrier.
KERNEL(twin_neighbour, TwinArguments) {
    __shared__ u32 shared[256];
    shared[threadIdx.x] = a.values[threadIdx.x];
    if (a.mode)
        __syncthreads();
    a.results[threadIdx.x] = shared[(threadIdx.x + blockDim.x / 2) % blockDim.x];
    __syncthreads();
    shared[threadIdx.x] = 0;
}

// Mode 0: half of the threads forget the barrier, and wait at a later one. Mode 1: lanes that others wait for do not
// come. Mode 2: writes behind shared memory.
KERNEL(twin_error, TwinArguments) {
    DYNAMIC_SHARED(u32, shared);
    if (a.mode == 0) {
        if (threadIdx.x < 32)
            __syncthreads();
        if (threadIdx.x >= 32)
            __syncthreads();
    }
    if (a.mode == 1) {
        if (threadIdx.x % 2)
            __syncwarp();
        else
            __syncthreads();
    }
    if (a.mode == 2)
        shared[a.count] = 1;
}

// One result a function.
KERNEL(twin_functions, TwinArguments) {
    u64 *r = a.results;
    u32 v = a.values[0];
    float f = v * 0.25f;
    double d = v * 0.25, sine, cosine;
    float sine_f, cosine_f;
    *r++ = __popc(v) + __popcll((u64)v << 20) * 100 + __ffs(v) * 10000;
    *r++ = __clz(v) + __clzll(v) * 100 + __clz(0) * 10000;
    *r++ = __brev(v);
    *r++ = __umul64hi((u64)v << 60, 64) + __umulhi(v << 30, 8);
    *r++ = __float_as_int(f) + (u64)__double_as_longlong(d);
    *r++ = __float2int_rn(f) + 100 * __float2int_rd(-f) + 10000 * __float2ll_rn(3 * f) + 1000000 * __double2ll_rn(-d);
    *r++ = __float2int_rn(1e20f);
    *r++ = __double2ll_rz(-1e30);
    *r++ = __float2uint_rn(-f);
    *r++ = (u64)(1000 * (min(f, 2.0f) + max(d, 4.0) + min(v, 3u) + max((i64)v, (i64)2)));
    sincospi(d / 8, &sine, &cosine);
    sincospi(f / 8, &sine_f, &cosine_f);
    *r++ = (i64)(1e9 * (sine + 10 * cosine) + 0.5);
    *r++ = (i64)(1e6f * (sine_f - cosine_f) + 0.5f);
    sincos(d, &sine, &cosine);
    sincosf(f, &sine_f, &cosine_f);
    *r++ = (i64)(1e9 * (sine * sine + cosine * cosine) + 0.5);
    *r++ = (i64)(1e3f * (sine_f * sine_f + cosine_f * cosine_f) + 0.5f);
    *r++ = (i64)(1e6 * rsqrt(d) + 0.5) + (i64)(1e3f * rsqrtf(f) + 0.5f) + (i64)(1e3f * rsqrt(f) + 0.5f);
    *r++ = __fadd_rn(f, 1) + __fmul_rn(f, 2) + __dadd_rn(d, 1) + __dmul_rn(d, 2) + __fmaf_rn(f, f, f) + fma(d, d, d);
    __shared__ u32 word;
    word = v;
    u64 old = atomicCAS(&word, v, 7u);
    old = old * 100 + atomicOr(&word, 8u);
    old = old * 100 + atomicAnd(&word, 12u);
    old = old * 100 + atomicExch(&word, 1u);
    old = old * 100 + atomicMin(&word, 0u);
    *r++ = old * 100 + atomicAdd(&word, 5u);
    *r++ = __ldg(a.values) + make_float2(f, 2).y + make_uint4(1, 2, 3, 4).w;
    *r++ = (u64)(16 * (floor(f) + sqrt(d) + fabs(-f) + exp2(f) + ceil(f) + rint(f)));
}
