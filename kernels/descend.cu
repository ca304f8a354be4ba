// Ends a pass of the selection: which ten bits the threshold has, or the threshold itself.
#include "posterior.cuh"

struct DescendArguments {
    State *states;
    // Left as zeros.
    u64 (*bins)[BINS][2];
    double fraction;
    u64 maximum;
    u32 particles;
    u32 is_first;
    // Trailing bits that are zero in every sample.
    u32 zero_bits;
};

// Grid: one warp a particle: every lane owns 32 bins.
KERNEL(descend, DescendArguments) {
    u32 p = blockIdx.x, lane = threadIdx.x;
    State state = a.states[p];
    if (!state.is_open)
        return;
    u64(*bins)[2] = a.bins[p];
    u64 mass = 0, count = 0;
    for (u32 bin = lane * 32; bin < lane * 32 + 32; bin++) {
        mass += bins[bin][0];
        count += bins[bin][1];
    }
    // What the lanes above hold: the heaviest samples lie in the last bins.
    u64 held = state.above_mass, many = state.above_count, all = 0;
    for (u32 other = 0; other < 32; other++) {
        u64 its_mass = __shfl_sync(0xffffffffu, mass, other), its_count = __shfl_sync(0xffffffffu, count, other);
        all += its_mass;
        if (other > lane) {
            held += its_mass;
            many += its_count;
        }
    }
    if (a.is_first)
        state.total = all;
    u64 wanted = (u64)((double)state.total * a.fraction);
    if (state.total > 0 && wanted > state.total - 1)
        wanted = state.total - 1;
    // The set ends with the bin that carries the running sum beyond the wanted share.
    u32 found = BINS;
    u64 held_there = 0, many_there = 0;
    for (u32 i = 0; i < 32; i++) {
        u32 bin = lane * 32 + 31 - i;
        u64 next = held + bins[bin][0], more = many + bins[bin][1];
        if (found == BINS && bins[bin][1] > 0 && (next > wanted || more >= a.maximum)) {
            found = bin;
            held_there = held;
            many_there = many;
        }
        held = next;
        many = more;
    }
    u32 lanes = __ballot_sync(0xffffffffu, found < BINS);
    if (state.total == 0 || lanes == 0) {
        if (lane == 0) {
            state.is_open = 0;
            state.threshold = INFINITY;
            a.states[p] = state;
        }
    } else if (lane == 31 - __clz(lanes)) {
        u32 digit = state.bits < DIGIT ? state.bits : DIGIT;
        state.above_mass = held_there;
        state.above_count = many_there;
        state.prefix = a.is_first ? found : state.prefix << digit | found;
        state.bits -= digit;
        state.is_open = state.bits > a.zero_bits;
        if (!state.is_open) {
            state.threshold = from_bits((state.prefix << state.bits) + SMALLEST_BITS);
            state.count = many_there + bins[found][1];
            state.selected = held_there + bins[found][0];
        }
        a.states[p] = state;
    }
    __syncwarp();
    for (u32 bin = lane; bin < BINS; bin += 32)
        bins[bin][0] = bins[bin][1] = 0;
}
