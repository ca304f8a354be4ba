// The largest magnitude of many values, as the bits of a float: those of NaN and infinity are larger than all others.
#include "kernel.cuh"

struct LargestArguments {
    const real *values;
    u64 count;
    // Zero before.
    u32 *bits;
};

// Any number of blocks of whole warps.
KERNEL(largest, LargestArguments) {
    u32 found = 0;
    for (u64 i = thread_number(); i < a.count; i += (u64)gridDim.x * blockDim.x)
        found = max(found, __float_as_uint(fabsf((float)a.values[i])));
    for (u32 step = 16; step > 0; step >>= 1)
        found = max(found, __shfl_xor_sync(0xffffffffu, found, step));
    if (threadIdx.x % 32 == 0)
        atomicMax(a.bits, found);
}
