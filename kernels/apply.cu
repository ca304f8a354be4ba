// Energies become posterior probabilities, zero below the threshold; sums of what only depends on them, as integers.
#include "pair.cuh"
#include "posterior.cuh"

struct ApplyArguments {
    const Pair *pairs;
    u32 count;
    const State *states;
    real *values;
    // Cross-correlation: the best child has it all. Its number is subscripts[block] * 32 + child.
    const u32 *subscripts;
    u32 best_only;
    u32 directions, classes;
    // Squared distance of each child's offset from the prior's centre, Angstrom^2, by particle, translation and step.
    const real *squared;
    u32 squared_stride, steps;
    // Posterior mass by class and direction, and by particle and class, in units of 2^-40.
    i64 *direction_mass;
    i64 *class_mass;
    // Expected squared offset of each particle, in units of 2^-32.
    i64 *offset2;
    // 1: the pair carries weight.
    u8 *is_active;
};

// Grid: a warp a pair; a lane a child.
KERNEL(apply, ApplyArguments) {
    u64 number = thread_number() / 32;
    u32 lane = threadIdx.x % 32;
    if (number >= a.count)
        return;
    const Pair pair = a.pairs[number];
    const State &state = a.states[pair.particle];
    real *place = &a.values[(u64)pair.block * BLOCK + lane];
    real probability = 0;
    if (a.best_only) {
        probability = (u64)a.subscripts[pair.block] * BLOCK + lane == state.best ? 1 : 0;
    } else if (state.total > 0) {
        real weight = weight_of(*place, energy_of_key(state.least));
        if (weight > 0 && (double)weight >= state.threshold)
            probability = (real)((double)weight * 17179869184.0 / (double)state.total);
    }
    *place = probability;
    u32 any = __ballot_sync(0xffffffffu, probability > 0);
    if (lane == 0)
        a.is_active[number] = any != 0;
    if (any == 0)
        return;
    real squared = 0;
    if (probability > 0)
        squared = a.squared[(u64)pair.particle * a.squared_stride + pair.translation * a.steps + lane % STEPS];
    i64 mass = warp_sum(nearest((double)probability * 1099511627776.0));
    i64 offset2 = warp_sum(nearest((double)probability * (double)squared * 4294967296.0));
    if (lane == 0) {
        u32 class_number = pair.direction / a.directions;
        add_integer(&a.direction_mass[pair.direction], mass);
        add_integer(&a.class_mass[pair.particle * a.classes + class_number], mass);
        add_integer(&a.offset2[pair.particle], offset2);
    }
}
