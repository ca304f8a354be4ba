// Weighted sums of images and their back-projection: for every child orientation
//   G = sum over pairs and steps of w (step phase) (v c X phase),   W = sum of w v c^2,
// over the pairs of one pose and one block of particles, in order, and then into the volume's integers.
#include "pair.cuh"

struct SumsArguments {
    Weighted weighted;
    Images unmasked;
    // v c^2 per particle.
    const real *weights;
    u32 weight_stride;
    Rows table;
    const Plane *planes;
    const short *pixels;
    Voxel *volumes;
    u64 voxels;
    // Integers that make 1, of data and of weights.
    double data_scale, weight_scale;
    // Becomes 1 where a sum is too large for exact integers.
    u32 *is_too_large;
};

#define THREADS 128
#define EXACT real(2251799813685248.0) /* 2^51 */

// Grid: (parts, pixels / 128); a thread a pixel.
KERNEL(sums, SumsArguments) {
    u32 number = blockIdx.x;
    u32 k = blockIdx.y * THREADS + threadIdx.x;
    u32 count = a.weighted.counts[number];
    if (count == 0 || k >= a.unmasked.pixels)
        return;
    const Part part = a.weighted.parts[number];
    complex data[BLOCK] = {};
    real weight[TURNS] = {};
    for (u32 i = 0; i < count; i++) {
        const Pair pair = a.weighted.pairs[a.weighted.list[part.first + i]];
        complex image = shifted(a.unmasked, pair.particle, pair.translation, k);
        real factor = a.weights[(u64)pair.particle * a.weight_stride + k];
        const real *values = &a.weighted.values[(u64)pair.block * BLOCK];
#pragma unroll
        for (u32 turn = 0; turn < TURNS; turn++) {
            real mass = 0;
#pragma unroll
            for (u32 step = 0; step < STEPS; step++) {
                real value = values[turn * STEPS + step];
                data[turn * STEPS + step].re += value * image.re;
                data[turn * STEPS + step].im += value * image.im;
                mass += value;
            }
            weight[turn] += mass * factor;
        }
    }
    complex step_phases[STEPS] = {};
    for (u32 step = 0; step < a.weighted.steps; step++)
        step_phases[step] = a.unmasked.step_phases[(u64)step * a.unmasked.stride + k];
    real kx = a.pixels[2 * k], ky = a.pixels[2 * k + 1];
    Voxel *volume = a.volumes + a.voxels * part.class_number;
#pragma unroll
    for (u32 turn = 0; turn < TURNS; turn++) {
        if (turn >= a.weighted.turns)
            continue;
        complex sum = {0, 0};
#pragma unroll
        for (u32 step = 0; step < STEPS; step++)
            sum = sum + data[turn * STEPS + step] * step_phases[step];
        if (weight[turn] == 0 && sum.re == 0 && sum.im == 0)
            continue;
        sum = real(a.data_scale) * sum;
        real scaled = weight[turn] * real(a.weight_scale);
        // NaN is outside, too.
        if (!(fabs(sum.re) < EXACT && fabs(sum.im) < EXACT && fabs(scaled) < EXACT)) {
            atomicOr(a.is_too_large, 1u);
            continue;
        }
        add_to_slice(volume, a.table, a.planes[part.planes + turn], kx, ky, sum, scaled);
    }
}
#undef THREADS
#undef EXACT
