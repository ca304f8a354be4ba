// Half transforms times one real factor a coefficient: what brings a detector to the mean of all, or a scale.
#include "prepare.cuh"

struct DetectorArguments {
    // [transform][coefficient]
    wide *halves;
    // Per coefficient; none: `scale` for all.
    const double *gain;
    double scale;
    u32 coefficients;
};

// Grid: (coefficients / threads, transforms).
KERNEL(detector, DetectorArguments) {
    u32 i = (u32)thread_number();
    if (i >= a.coefficients)
        return;
    wide &value = a.halves[(u64)blockIdx.y * a.coefficients + i];
    value = value * (a.gain ? a.gain[i] : a.scale);
}
