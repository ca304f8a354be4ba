// Half the power of every projection under every particle's weight.
//
// half_powers[q * half_power_stride + pose] = 1/2 sum over k of power[q * power_stride + k] |rows[pose][k]|^2
#include "product.cuh"

struct CoarsePowerArguments {
    // As in CoarseArguments.
    const real *rows;
    // v c^2 by particle: `pixels` reals, then zeros up to the stride, a multiple of 16; on 16 bytes.
    const real *power;
    real *half_powers;
    // In reals.
    u32 row_stride, power_stride, half_power_stride;
    u32 pixels, poses, particles;
};

struct HalfPowerColumn {
    const CoarsePowerArguments &a;
    u32 pose;

    __device__ __forceinline__ void store(u32 particle, real sum) const {
        if (pose < a.poses && particle < a.particles)
            a.half_powers[(u64)particle * a.half_power_stride + pose] = (real)0.5 * sum;
    }
};

struct HalfPowers {
    typedef HalfPowerColumn Column;
    const CoarsePowerArguments &a;

    __device__ __forceinline__ Column column(u32 pose) const {
        return {a, pose};
    }
};

// Particles are the rows of this product: there are fewer of them.
KERNEL_BOUNDED(PRODUCT_THREADS, coarse_power, CoarsePowerArguments) {
    PlainLines power = {a.power, a.power_stride, a.particles};
    SquaredLines rows = {a.rows, a.row_stride, a.poses};
    multiply_tiles(power, rows, a.pixels, HalfPowers{a});
}
