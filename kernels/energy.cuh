// What every form of the coarse comparison takes, and how its products become energies.
//
// d2 = 1/2 sum (v c^2) |P|^2 - sum Re P conj(v c s F) + constant. The forms differ in how they make the second sum.
#pragma once
#include "kernel.cuh"

// Rows and columns are complex values as pairs of reals: `length` reals, then zeros up to the stride. Strides are
// multiples of 32 reals, and rows start on 16 bytes, so that no form looks where a row ends.
struct CoarseArguments {
    // Projections, one a pose. Shifted images: column q * translations + t.
    const real *rows, *columns;
    // The same times powers of two in FP16, for the form that takes them; `unscale` takes the powers back.
    const u16 *narrow_rows, *narrow_columns;
    // 1/2 sum (v c^2) |P|^2 at [q * power_stride + pose].
    const real *half_powers;
    // By pose; null compares by cross-correlation.
    const real *log_poses;
    // At [q * offset_stride + t].
    const real *log_offsets;
    // By particle, for cross-correlation.
    const double *image_powers;
    // By particle, or null for all; 0: infinite energies.
    const u8 *allowed;
    // At [q * energy_stride + (first_pose + pose) * translations + t].
    real *energies;
    u64 energy_stride;
    double unscale;
    u32 length, row_stride, column_stride;
    u32 poses, particles, translations;
    u32 power_stride, offset_stride;
    u32 first_pose;
    u32 padding;
};

DEVICE u32 column_count(const CoarseArguments &a) {
    return a.particles * a.translations;
}

// Minus the normalised cross-correlation.
DEVICE real correlation_energy(real product, real half_power, double image_power) {
    double norm = sqrt(2.0 * (double)half_power * image_power);
    return norm > 0 ? (real)(-(double)product / norm) : (real)0;
}

// Where the products of one column go.
struct EnergyColumn {
    const CoarseArguments &a;
    u32 particle;
    bool exists, allowed;
    real log_offset;
    // Of the column's first pose.
    real *energies;

    __device__ __forceinline__ EnergyColumn(const CoarseArguments &arguments, u32 column) : a(arguments) {
        exists = column < column_count(a);
        u32 translation = exists ? column % a.translations : 0;
        particle = exists ? column / a.translations : 0;
        allowed = a.allowed == nullptr || a.allowed[particle] != 0;
        log_offset = a.log_poses == nullptr ? (real)0 : a.log_offsets[(u64)particle * a.offset_stride + translation];
        energies = a.energies + particle * a.energy_stride + (u64)a.first_pose * a.translations + translation;
    }

    __device__ __forceinline__ void store(u32 pose, real product) const {
        if (!exists || pose >= a.poses)
            return;
        real half_power = a.half_powers[(u64)particle * a.power_stride + pose];
        real energy;
        if (!allowed)
            energy = (real)__int_as_float(0x7f800000);
        else if (a.log_poses == nullptr)
            energy = correlation_energy(product, half_power, a.image_powers[particle]);
        else
            energy = half_power - product - a.log_poses[pose] - log_offset;
        energies[(u64)pose * a.translations] = energy;
    }
};

// The ending of `multiply_tiles`.
struct Energies {
    typedef EnergyColumn Column;
    const CoarseArguments &a;

    __device__ __forceinline__ Column column(u32 column) const {
        return EnergyColumn(a, column);
    }
};
