// Posterior weights: what is known of a particle's search, and the arithmetic of weights.
// The definitions are those of src/weights/select.rs.
#pragma once
#include "kernel.cuh"

// One particle's search, coarse or fine. 80 bytes, as in src/expectation/gpu/state.rs.
struct State {
    // The smallest energy, as a key; NO_KEY: there is none.
    u64 least;
    // The first sample that has it.
    u64 best;
    // Mass of all samples.
    u64 total;
    // Mass and number of the samples whose leading bits exceed `prefix`.
    u64 above_mass, above_count;
    u64 prefix;
    // Smallest weight of the selected set, their number and mass.
    double threshold;
    u64 count;
    u64 selected;
    // Bits of the key that are still to be resolved.
    u32 bits;
    u32 is_open;
};

#define NO_KEY 0xffffffffffffffffull
// Weights below exp(-24) of the best have no mass.
#define LARGEST_EXPONENT real(24)

DEVICE u64 bits_of(double x) {
    return (u64)__double_as_longlong(x);
}

DEVICE double from_bits(u64 bits) {
    return __longlong_as_double((i64)bits);
}

// Keys are as ordered as the numbers. NaN has none: nothing is chosen because of it.
DEVICE u64 key_of_energy(real energy) {
    if (!(energy < INFINITY))
        return NO_KEY;
    u64 bits = bits_of((double)energy);
    return bits >> 63 ? ~bits : bits | 0x8000000000000000ull;
}

DEVICE real energy_of_key(u64 key) {
    return (real)from_bits(key >> 63 ? key & 0x7fffffffffffffffull : ~key);
}

DEVICE float exponential(float x) {
    return expf(x);
}

DEVICE double exponential(double x) {
    return exp(x);
}

// exp(least - energy), or 0 where that has no mass.
DEVICE real weight_of(real energy, real least) {
    real exponent = least - energy;
    return exponent > -LARGEST_EXPONENT ? exponential(exponent) : real(0);
}

// A weight in units of 2^-34.
DEVICE u64 mass_of(real weight) {
    return (u64)nearest(weight * real(17179869184.0));
}

#define DIGIT 10
#define BINS 1024
#define KEY_BITS 58
#define SMALLEST_BITS 0x3dc0000000000000ull /* of 2^-35 */

// The bits of a weight with a mass, counted from those of the smallest.
DEVICE u64 key_of_weight(real weight) {
    return bits_of((double)weight) - SMALLEST_BITS;
}

// The samples of a particle lie together: values[ranges[2 p] .. ranges[2 p + 1]].
struct Samples {
    const real *values;
    const u64 *ranges;
};
