// The map of significant coarse samples, one bit each.
#include "posterior.cuh"

struct MarkArguments {
    Samples samples;
    const State *states;
    // Per particle `words` words of 32 bits.
    u32 *map;
    u32 words;
    // Cross-correlation: the best sample alone.
    u32 best_only;
    // Weights within this factor of the threshold are taken, too (1: none), for energies of reduced precision.
    double slack;
};

// Grid: (words * 32 / threads, particles), whole warps.
KERNEL(mark, MarkArguments) {
    u32 p = blockIdx.y;
    u64 sample = thread_number();
    const State &state = a.states[p];
    u64 begin = a.samples.ranges[2 * p], count = a.samples.ranges[2 * p + 1] - begin;
    bool is_kept = false;
    if (sample < count && state.least != NO_KEY) {
        if (a.best_only) {
            is_kept = sample == state.best;
        } else {
            real weight = weight_of(a.samples.values[begin + sample], energy_of_key(state.least));
            is_kept = weight > 0 && (double)weight >= state.threshold * a.slack;
        }
    }
    u32 word = __ballot_sync(0xffffffffu, is_kept);
    if (threadIdx.x % 32 == 0 && sample / 32 < a.words)
        a.map[(u64)p * a.words + sample / 32] = word;
}
