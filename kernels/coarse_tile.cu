// Coarse energies in tiles of shared memory: a block of 32 images meets a block of 32 projections, and what either
// loads serves all of the other.
#include "energy.cuh"

const u32 COARSE_TILE = 32;
// Projections of a thread.
const u32 TILE_POSES = 4;

// Grid: (columns / 32, poses / 32), 32 x 8 threads. A thread makes four products of one column.
KERNEL_BOUNDED(256, coarse_tile, CoarseArguments) {
    // One more than the tile, so that the threads of a warp read different banks.
    __shared__ real rows[COARSE_TILE][COARSE_TILE + 1];
    __shared__ real columns[COARSE_TILE][COARSE_TILE + 1];
    u32 x = threadIdx.x, y = threadIdx.y;
    u32 first_column = blockIdx.x * COARSE_TILE, first_pose = blockIdx.y * COARSE_TILE;
    real total[TILE_POSES] = {};
    for (u32 start = 0; start < a.length; start += COARSE_TILE) {
        for (u32 line = y; line < COARSE_TILE; line += COARSE_TILE / TILE_POSES) {
            // Beyond the last row its values are taken again; those products are not stored.
            u32 pose = min(first_pose + line, a.poses - 1);
            u32 column = min(first_column + line, column_count(a) - 1);
            rows[line][x] = a.rows[(u64)pose * a.row_stride + start + x];
            columns[line][x] = a.columns[(u64)column * a.column_stride + start + x];
        }
        __syncthreads();
        // A step is a chunk: its sum joins the others as one number.
        real sum[TILE_POSES] = {};
        for (u32 k = 0; k < COARSE_TILE; k++) {
            real value = columns[x][k];
#pragma unroll
            for (u32 i = 0; i < TILE_POSES; i++)
                sum[i] += rows[y * TILE_POSES + i][k] * value;
        }
        for (u32 i = 0; i < TILE_POSES; i++)
            total[i] += sum[i];
        __syncthreads();
    }
    EnergyColumn column(a, first_column + x);
    for (u32 i = 0; i < TILE_POSES; i++)
        column.store(first_pose + y * TILE_POSES + i, total[i]);
}
