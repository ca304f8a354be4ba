// Images as they were read -> numbers times the norm correction, moved by whole pixels; vacated pixels are 0.
#include "prepare.cuh"
#include "stored.cuh"

struct DecodeArguments {
    const ParticleToPrepare *particles;
    // [particle][y][x]
    double *images;
    u32 edge;
    // 0: the particle's image; 1: the one that replaces it.
    u32 which;
};

// Grid: (pixels / threads, particles).
KERNEL(decode, DecodeArguments) {
    u32 i = (u32)thread_number(), pixels = a.edge * a.edge;
    if (i >= pixels)
        return;
    const ParticleToPrepare &particle = a.particles[blockIdx.y];
    int edge = (int)a.edge;
    int x = (int)(i % a.edge) - particle.shift_x, y = (int)(i / a.edge) - particle.shift_y;
    double value = 0;
    if (x >= 0 && x < edge && y >= 0 && y < edge)
        value = particle.gain * stored_pixel(particle.images[a.which], particle.formats[a.which], (u32)(y * edge + x));
    a.images[(u64)blockIdx.y * pixels + i] = value;
}
