// What the noise is estimated from: per particle, class and shell
//   cross = sum w Re R conj(F),   own = sum w |R|^2,   R = c P,
// both times 1/sigma2, in units of 2^-24.
#include "pair.cuh"

struct ResidualArguments {
    Slices slices;
    Weighted weighted;
    Images masked;
    const real *powers;
    u32 power_stride;
    // Pixels by shell, every shell filled up to whole warps with 0xffffffff; and the shell of each warp.
    const u32 *places;
    const u16 *shells;
    u32 places_count;
    u32 classes, shells_count;
    i64 *cross;
    i64 *own;
};

#define THREADS 128
#define UNITS real(16777216.0)

// Grid: (parts, places / 128); a thread a pixel, a warp of one shell.
KERNEL(residual, ResidualArguments) {
    u32 number = blockIdx.x;
    u32 place = blockIdx.y * THREADS + threadIdx.x;
    u32 count = a.weighted.counts[number];
    if (count == 0 || place >= a.places_count)
        return;
    const Part part = a.weighted.parts[number];
    u32 k = a.places[place];
    bool is_pixel = k != 0xffffffffu;
    complex slices[TURNS] = {}, step_phases[STEPS] = {};
    if (is_pixel) {
#pragma unroll
        for (u32 turn = 0; turn < TURNS; turn++)
            if (turn < a.weighted.turns)
                slices[turn] = slice_at(a.slices, part.class_number, part.planes + turn, k);
#pragma unroll
        for (u32 step = 0; step < STEPS; step++)
            if (step < a.weighted.steps)
                step_phases[step] = a.masked.step_phases[(u64)step * a.masked.stride + k];
    }
    real cross = 0, own = 0;
    for (u32 i = 0; i < count; i++) {
        const Pair pair = a.weighted.pairs[a.weighted.list[part.first + i]];
        if (is_pixel) {
            const real *values = &a.weighted.values[(u64)pair.block * BLOCK];
            // The posterior mean reference, and its mean square.
            complex mean = {0, 0};
            real square = 0;
#pragma unroll
            for (u32 turn = 0; turn < TURNS; turn++) {
                complex phase = {0, 0};
                real mass = 0;
#pragma unroll
                for (u32 step = 0; step < STEPS; step++) {
                    real value = values[turn * STEPS + step];
                    phase = phase + value * step_phases[step];
                    mass += value;
                }
                mean = mean + times_conjugate(slices[turn], phase);
                square += mass * (slices[turn].re * slices[turn].re + slices[turn].im * slices[turn].im);
            }
            complex image = shifted(a.masked, pair.particle, pair.translation, k);
            cross += mean.re * image.re + mean.im * image.im;
            own += square * a.powers[(u64)pair.particle * a.power_stride + k];
        }
        bool is_last = i + 1 == count || a.weighted.pairs[a.weighted.list[part.first + i + 1]].particle != pair.particle;
        if (is_last) {
            i64 sum = warp_sum(nearest(cross * UNITS)), square_sum = warp_sum(nearest(own * UNITS));
            if (threadIdx.x % 32 == 0) {
                u64 at = ((u64)pair.particle * a.classes + part.class_number) * a.shells_count + a.shells[place / 32];
                add_integer(&a.cross[at], sum);
                add_integer(&a.own[at], square_sum);
            }
            cross = own = 0;
        }
    }
}
#undef THREADS
#undef UNITS
