// Coarse energies as RELION 2 makes them: one block a projection and an image, all translations, read through the
// cache. Nothing is shared between images, so every number is loaded once for every use. It is the measure of the
// other forms.
#include "energy.cuh"

// Values that a thread adds before the sum joins the others: bounds the rounding error of long rows.
const u32 DIRECT_CHUNK = 32;

// Grid: (poses, particles), 128 threads. A warp makes one product at a time.
KERNEL_BOUNDED(128, coarse_direct, CoarseArguments) {
    u32 pose = blockIdx.x, particle = blockIdx.y;
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    const real *row = a.rows + (u64)pose * a.row_stride;
    for (u32 t = warp; t < a.translations; t += warps) {
        u32 number = particle * a.translations + t;
        const real *column = a.columns + (u64)number * a.column_stride;
        real total = 0;
        for (u32 start = 0; start < a.length; start += 32 * DIRECT_CHUNK) {
            u32 end = min(start + 32 * DIRECT_CHUNK, a.length);
            real sum = 0;
            for (u32 k = start + lane; k < end; k += 32)
                sum += row[k] * column[k];
            total += sum;
        }
        // Both partners of a step add the same two numbers, so all threads hold the same sum.
        for (u32 step = 16; step > 0; step >>= 1)
            total += __shfl_xor_sync(0xffffffffu, total, step);
        if (lane == 0)
            EnergyColumn(a, number).store(pose, total);
    }
}
