// The fine pass: energies of the children of significant coarse samples, a pose's children against up to 32 pairs.
//
// energy = 1/2 sum v c^2 |P|^2 - Re sum P conj(step phase) conj(v c F phase) - priors: one product of 32 rows (made
// here from the slices of 8 child orientations) with 32 columns (made here from images and phases).
#include "pair.cuh"
#include "posterior.cuh"

struct FineArguments {
    Slices slices;
    Compared compared;
    const Pair *pairs;
    // Log prior of each pair's pose.
    const real *log_poses;
    // At most 32 pairs each.
    const Part *tiles;
    // Children there are.
    u32 turns, steps;
    real *values;
};

#define PIXELS 16  /* of a step */
#define CUT 16     /* steps whose sums are added in one go, to bound the rounding error */
#define COLUMNS 32
#define THREADS 64

// Grid: tiles; 64 threads, each with 4 rows and 4 columns.
KERNEL(fine, FineArguments) {
    __shared__ real rows[2 * PIXELS][BLOCK];
    __shared__ real columns[2 * PIXELS][COLUMNS];
    __shared__ real squares[PIXELS][TURNS];
    __shared__ real powers[PIXELS][COLUMNS];
    const Part tile = a.tiles[blockIdx.x];
    const Images masked = a.compared.masked;
    u32 turn = threadIdx.x / 8, column = threadIdx.x % 8 * 4;
    real sums[4][4] = {}, parts[4][4] = {}, square_sums[4] = {}, square_parts[4] = {};
    u32 step_number = 0;
    for (u32 first = 0; first < masked.pixels; first += PIXELS) {
        // Rows: 8 slices of 16 pixels, times the conjugate phases of the steps.
        for (u32 i = threadIdx.x; i < TURNS * PIXELS; i += THREADS) {
            u32 row_turn = i / PIXELS, j = i % PIXELS, k = first + j;
            complex slice = {0, 0};
            bool is_inside = k < masked.pixels;
            if (is_inside && row_turn < a.turns)
                slice = slice_at(a.slices, tile.class_number, tile.planes + row_turn, k);
            squares[j][row_turn] = slice.re * slice.re + slice.im * slice.im;
            for (u32 step = 0; step < STEPS; step++) {
                complex row = {0, 0};
                if (is_inside && step < a.steps)
                    row = times_conjugate(slice, masked.step_phases[(u64)step * masked.stride + k]);
                rows[2 * j][row_turn * STEPS + step] = row.re;
                rows[2 * j + 1][row_turn * STEPS + step] = row.im;
            }
        }
        // Columns: shifted images, and CTF powers.
        for (u32 i = threadIdx.x; i < COLUMNS * PIXELS; i += THREADS) {
            u32 c = i / PIXELS, j = i % PIXELS, k = first + j;
            complex value = {0, 0};
            real power = 0;
            if (c < tile.count && k < masked.pixels) {
                const Pair &pair = a.pairs[tile.first + c];
                value = shifted(masked, pair.particle, pair.translation, k);
                power = a.compared.powers[(u64)pair.particle * a.compared.power_stride + k];
            }
            columns[2 * j][c] = value.re;
            columns[2 * j + 1][c] = value.im;
            powers[j][c] = power;
        }
        __syncthreads();
        for (u32 j = 0; j < 2 * PIXELS; j++)
            for (u32 r = 0; r < 4; r++)
                for (u32 c = 0; c < 4; c++)
                    parts[r][c] += rows[j][turn * 4 + r] * columns[j][column + c];
        for (u32 j = 0; j < PIXELS; j++)
            for (u32 c = 0; c < 4; c++)
                square_parts[c] += squares[j][turn] * powers[j][column + c];
        step_number++;
        if (step_number == CUT || first + PIXELS >= masked.pixels) {
            step_number = 0;
            for (u32 c = 0; c < 4; c++) {
                for (u32 r = 0; r < 4; r++) {
                    sums[r][c] += parts[r][c];
                    parts[r][c] = 0;
                }
                square_sums[c] += square_parts[c];
                square_parts[c] = 0;
            }
        }
        __syncthreads();
    }
    for (u32 c = 0; c < 4 && column + c < tile.count; c++) {
        const Pair &pair = a.pairs[tile.first + column + c];
        for (u32 step = 0; step < STEPS; step++) {
            real energy = INFINITY;
            if (turn < a.turns && step < a.steps) {
                const Compared &compared = a.compared;
                const real *offsets =
                    compared.log_offsets + (u64)pair.particle * compared.offset_stride + compared.translations;
                energy = energy_of(compared, pair.particle, square_sums[c], sums[step][c],
                                   a.log_poses[tile.first + column + c], offsets[pair.translation * a.steps + step]);
            }
            a.values[(u64)pair.block * BLOCK + turn * STEPS + step] = energy;
        }
    }
}
#undef PIXELS
#undef CUT
#undef COLUMNS
#undef THREADS
