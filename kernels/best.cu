// The first sample that has the smallest energy, of every particle.
#include "posterior.cuh"

struct BestArguments {
    Samples samples;
    // The number of each block of 32 samples; null: a sample's number is its place.
    const u32 *subscripts;
    State *states;
};

// Grid: (any, particles).
KERNEL(best, BestArguments) {
    u32 p = blockIdx.y;
    u64 least = a.states[p].least;
    if (least == NO_KEY)
        return;
    u64 begin = a.samples.ranges[2 * p], end = a.samples.ranges[2 * p + 1];
    for (u64 i = begin + thread_number(); i < end; i += (u64)gridDim.x * blockDim.x)
        if (key_of_energy(a.samples.values[i]) == least)
            atomicMin(&a.states[p].best, a.subscripts ? (u64)a.subscripts[i / 32] * 32 + i % 32 : i - begin);
}
