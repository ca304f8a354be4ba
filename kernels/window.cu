// Half transforms -> the pixels that are compared: centred, moved by the rest of the offset, corrected for aberrations.
#include "prepare.cuh"

struct WindowArguments {
    const ParticleToPrepare *particles;
    // [particle][ky][kx]
    const wide *halves;
    // Frequencies of the pixels.
    const short *kx, *ky;
    // Per pixel; or none.
    const wide *correction;
    // [particle][pixel]
    wide *out;
    // [particle][result_stride]: the zero frequency goes to `result`.
    double *results;
    u32 edge, pixels, result_stride, result;
};

// Grid: (pixels / threads, particles).
KERNEL(window, WindowArguments) {
    u32 i = (u32)thread_number();
    const wide *half = a.halves + (u64)blockIdx.y * a.edge * (a.edge / 2 + 1);
    if (i == 0)
        a.results[(u64)blockIdx.y * a.result_stride + a.result] = half[0].re;
    if (i >= a.pixels)
        return;
    const ParticleToPrepare &particle = a.particles[blockIdx.y];
    const double minus_full_turn = -6.283185307179586477;
    int kx = a.kx[i], ky = a.ky[i], row = ky >= 0 ? ky : ky + (int)a.edge;
    wide phase = turn(minus_full_turn * kx * particle.rest_x / a.edge) * turn(minus_full_turn * ky * particle.rest_y / a.edge);
    wide value = half[row * (int)(a.edge / 2 + 1) + kx] * phase * ((kx + ky) & 1 ? -1.0 : 1.0);
    a.out[(u64)blockIdx.y * a.pixels + i] = a.correction ? value * a.correction[i] : value;
}
