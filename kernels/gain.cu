// Half transforms times one real factor a coefficient: what brings a detector to the mean of all, or a scale.
#include "prepare.cuh"

struct GainArguments {
    // [transform][coefficient]
    wide *halves;
    // Per coefficient; none: `scale` for all.
    const double *gains;
    double scale;
    u32 coefficients;
};

// Grid: (coefficients / threads, transforms).
KERNEL(gain, GainArguments) {
    u32 i = (u32)thread_number();
    if (i >= a.coefficients)
        return;
    wide &value = a.halves[(u64)blockIdx.y * a.coefficients + i];
    value = value * (a.gains ? a.gains[i] : a.scale);
}
