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
