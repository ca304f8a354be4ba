// The smallest energy of every particle, over whatever was there before.
#include "posterior.cuh"

struct LeastArguments {
    Samples samples;
    State *states;
};

// Grid: (any, particles).
KERNEL(least, LeastArguments) {
    __shared__ u64 smallest;
    u32 p = blockIdx.y;
    if (threadIdx.x == 0)
        smallest = NO_KEY;
    __syncthreads();
    u64 own = NO_KEY;
    u64 end = a.samples.ranges[2 * p + 1];
    for (u64 i = a.samples.ranges[2 * p] + thread_number(); i < end; i += (u64)gridDim.x * blockDim.x) {
        u64 key = key_of_energy(a.samples.values[i]);
        own = key < own ? key : own;
    }
    if (own != NO_KEY)
        atomicMin(&smallest, own);
    __syncthreads();
    if (threadIdx.x == 0 && smallest != NO_KEY)
        atomicMin(&a.states[p].least, smallest);
}
