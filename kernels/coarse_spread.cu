// What the errors of rounded factors are a share of: the root of the sum of a product's squared terms.
//
// spreads[q * spread_stride + pose] = sqrt(1/2 sum over k of |rows[pose][k]|^2 |columns[q][k]|^2). A term is the real
// part of a complex product, half of whose square it is in the mean over phases; translations do not change it.
#include "product.cuh"

struct CoarseSpreadArguments {
    // As in CoarseArguments.
    const real *rows;
    // One column a particle, `column_stride` reals apart.
    const real *columns;
    real *spreads;
    u32 row_stride, column_stride, spread_stride;
    u32 pixels, poses, particles;
};

struct SpreadColumn {
    const CoarseSpreadArguments &a;
    u32 pose;

    __device__ __forceinline__ void store(u32 particle, real sum) const {
        if (pose < a.poses && particle < a.particles)
            a.spreads[(u64)particle * a.spread_stride + pose] = sqrt((real)0.5 * sum);
    }
};

struct Spreads {
    typedef SpreadColumn Column;
    const CoarseSpreadArguments &a;

    __device__ __forceinline__ Column column(u32 pose) const {
        return {a, pose};
    }
};

KERNEL_BOUNDED(PRODUCT_THREADS, coarse_spread, CoarseSpreadArguments) {
    SquaredLines columns = {a.columns, a.column_stride, a.particles};
    SquaredLines rows = {a.rows, a.row_stride, a.poses};
    multiply_tiles(columns, rows, a.pixels, Spreads{a});
}
