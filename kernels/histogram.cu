// One pass of the selection: mass and number of the samples by the next ten bits of their weights.
#include "posterior.cuh"

struct HistogramArguments {
    Samples samples;
    const State *states;
    // Per particle: mass, number of samples; zeros before the first call of a pass.
    u64 (*bins)[BINS][2];
    // All bits are open: the first pass.
    u32 is_first;
};

// Grid: (any, particles).
KERNEL(histogram, HistogramArguments) {
    __shared__ u64 own[BINS][2];
    u32 p = blockIdx.y;
    const State &state = a.states[p];
    if (!state.is_open || state.least == NO_KEY)
        return;
    for (u32 bin = threadIdx.x; bin < BINS; bin += blockDim.x)
        own[bin][0] = own[bin][1] = 0;
    __syncthreads();
    real least = energy_of_key(state.least);
    u32 bits = state.bits;
    u32 digit = bits < DIGIT ? bits : DIGIT;
    u64 end = a.samples.ranges[2 * p + 1];
    for (u64 i = a.samples.ranges[2 * p] + thread_number(); i < end; i += (u64)gridDim.x * blockDim.x) {
        real weight = weight_of(a.samples.values[i], least);
        u64 mass = mass_of(weight);
        if (mass == 0)
            continue;
        u64 key = key_of_weight(weight);
        if (!a.is_first && key >> bits != state.prefix)
            continue;
        u32 bin = (u32)(key >> (bits - digit)) & (BINS - 1);
        atomicAdd(&own[bin][0], mass);
        atomicAdd(&own[bin][1], 1ull);
    }
    __syncthreads();
    for (u32 bin = threadIdx.x; bin < BINS; bin += blockDim.x)
        if (own[bin][1]) {
            atomicAdd(&a.bins[p][bin][0], own[bin][0]);
            atomicAdd(&a.bins[p][bin][1], own[bin][1]);
        }
}
