// What the kernels share that prepare images. They count in double whatever `real` is: the preparation is a small part
// of the work, and nothing after it can be better.
#pragma once
#include "kernel.cuh"

// A complex number in double precision.
struct alignas(16) wide {
    double re, im;
};

DEVICE wide operator*(wide a, wide b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

DEVICE wide operator*(wide a, double b) {
    return {a.re * b, a.im * b};
}

DEVICE double square_norm(wide a) {
    return a.re * a.re + a.im * a.im;
}

// exp(i angle).
DEVICE wide turn(double angle) {
    wide value;
    sincos(angle, &value.im, &value.re);
    return value;
}

// What the host knows of a particle; `expectation/gpu/prepare/particle.rs` has the same.
struct ParticleToPrepare {
    // Its image as it was read, and the one that replaces it in the reconstruction (the same where there is none).
    const u8 *images[2];
    // How pixels are stored: `stored_pixel`.
    u32 formats[2];
    // Whole pixels of the old offset, and the rest.
    int shift_x, shift_y;
    double rest_x, rest_y;
    // Norm correction.
    double gain;
    double group_scale;
    // Argument of the CTF: xx kx^2 + xy kx ky + yy ky^2 + quartic u^4 - constant.
    double ctf_xx, ctf_xy, ctf_yy, ctf_quartic, ctf_constant;
    // -B/4, and what multiplies the whole.
    double ctf_damping, ctf_scale;
    // The item of its stream of random numbers.
    u64 item;
};

// Where a particle's results lie among those of its row, in numbers; `expectation/gpu/prepare/particle.rs` has the same.
enum : u32 {
    RESULT_UNMASKED_DC = 0,
    RESULT_MASKED_DC = 1,
    RESULT_CORRELATION_POWER = 2,
    RESULT_LARGEST_DATA = 3,
    RESULT_LARGEST_WEIGHT = 4,
    // Of the image, then of its replacement: `PIXELS_...`.
    RESULT_PIXELS = 5,
    RESULT_SHELLS = 13,
};

// Threads of a block that sums.
enum : u32 { SUM_THREADS = 128 };

// Sum of what the threads of a block have, in the order of their numbers; all threads call it and get it.
DEVICE double block_sum(double value) {
    __shared__ double values[SUM_THREADS];
    __shared__ double sum;
    values[threadIdx.x] = value;
    __syncthreads();
    if (threadIdx.x == 0) {
        double total = 0;
        for (u32 i = 0; i < SUM_THREADS; i++)
            total += values[i];
        sum = total;
    }
    __syncthreads();
    // Not before all have read it may the next call write.
    double result = sum;
    __syncthreads();
    return result;
}

// The same for the largest; NaN is left out where there is another.
DEVICE double block_largest(double value) {
    __shared__ double values[SUM_THREADS];
    __shared__ double largest;
    values[threadIdx.x] = value;
    __syncthreads();
    if (threadIdx.x == 0) {
        double most = values[0];
        for (u32 i = 1; i < SUM_THREADS; i++)
            most = fmax(most, values[i]);
        largest = most;
    }
    __syncthreads();
    double result = largest;
    __syncthreads();
    return result;
}
