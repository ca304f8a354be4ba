// Pairs of the fine pass: a coarse sample that is significant for a particle. Its children fill one block of 32 values,
// child (turn, step) at 4 turn + step.
#pragma once
#include "volume.cuh"

#define BLOCK 32
#define TURNS 8
#define STEPS 4

struct Pair {
    // Place of its block of values.
    u32 block;
    u32 particle, translation;
    // Class times directions plus direction: where its posterior mass belongs.
    u32 direction;
};

// Pairs of one pose, and of one block of particles; neighbours in the list.
struct Part {
    u32 first, count;
    // The first of the pose's child planes.
    u32 planes;
    u32 class_number;
};

// What slices are read from: oversampled transforms of all classes, planes, and the pixels of a slice.
struct Slices {
    const complex *references;
    u64 voxels;
    Rows table;
    const Plane *planes;
    const short *pixels;
};

DEVICE complex slice_at(const Slices &slices, u32 class_number, u32 plane, u32 k) {
    const complex *volume = slices.references + slices.voxels * class_number;
    return read_slice(volume, slices.table, slices.planes[plane], slices.pixels[2 * k], slices.pixels[2 * k + 1]);
}

// Pairs that carry weight: the first counts[part] of each part's stretch of `list`; and the values of their children.
struct Weighted {
    const Part *parts;
    const u32 *list;
    const u32 *counts;
    const Pair *pairs;
    const real *values;
    // Children there are.
    u32 turns, steps;
};

// Images of the particles, and what moves them.
struct Images {
    const complex *images;
    // Phases of the coarse translations, and of their children relative to them.
    const complex *phases;
    const complex *step_phases;
    // Length of a row of any of them, in complex values.
    u32 stride;
    u32 pixels;
};

DEVICE complex shifted(const Images &images, u32 particle, u32 translation, u32 k) {
    return images.images[(u64)particle * images.stride + k] * images.phases[(u64)translation * images.stride + k];
}

// What is compared with slices, and how.
struct Compared {
    Images masked;
    // v c^2 per particle.
    const real *powers;
    u32 power_stride;
    // Per particle: log priors of the translations, then of their children.
    const real *log_offsets;
    u32 offset_stride, translations;
    // Cross-correlation: sum |F|^2 of each particle; null: likelihood.
    const double *image_powers;
};

// Of `square` = sum v c^2 |P|^2 and `product` = Re sum P conj(v c F phase).
DEVICE real energy_of(const Compared &compared, u32 particle, real square, real product, real log_pose,
                      real log_offset) {
    if (compared.image_powers) {
        double norm = sqrt((double)square * compared.image_powers[particle]);
        return norm > 0 ? (real)(-(double)product / norm) : real(0);
    }
    return real(0.5) * square - product - log_pose - log_offset;
}
