// What is wrong with an image's pixels, if anything: one that is not finite, all alike, spread too widely.
#include "prepare.cuh"
#include "stored.cuh"

// Where in a row of results.
enum : u32 { PIXELS_FIRST_BAD, PIXELS_BAD_VALUE, PIXELS_ALIKE, PIXELS_SPREAD, PIXELS_RESULTS };

struct PixelsArguments {
    const ParticleToPrepare *particles;
    // [particle][result_stride]
    double *results;
    u32 pixels, result_stride;
};

// Grid: (1, particles, images of a particle); SUM_THREADS threads.
KERNEL(pixels, PixelsArguments) {
    __shared__ u32 first_bad, differing;
    const ParticleToPrepare &particle = a.particles[blockIdx.y];
    const u8 *image = particle.images[blockIdx.z];
    u32 format = particle.formats[blockIdx.z];
    if (threadIdx.x == 0) {
        first_bad = a.pixels;
        differing = 0;
    }
    __syncthreads();
    float first = stored_pixel(image, format, 0);
    double sum = 0;
    for (u32 i = threadIdx.x; i < a.pixels; i += SUM_THREADS) {
        float value = stored_pixel(image, format, i);
        // Neither infinite nor NaN.
        if (!(fabsf(value) <= 3.402823466e+38f))
            atomicMin(&first_bad, i);
        if (value != first)
            atomicMax(&differing, 1u);
        sum += value;
    }
    double mean = block_sum(sum) / a.pixels;
    double squares = 0;
    for (u32 i = threadIdx.x; i < a.pixels; i += SUM_THREADS) {
        double off = stored_pixel(image, format, i) - mean;
        squares += off * off;
    }
    double spread = sqrt(block_sum(squares) / a.pixels);
    if (threadIdx.x > 0)
        return;
    double *out = a.results + (u64)blockIdx.y * a.result_stride + RESULT_PIXELS + blockIdx.z * PIXELS_RESULTS;
    out[PIXELS_FIRST_BAD] = first_bad;
    out[PIXELS_BAD_VALUE] = first_bad < a.pixels ? stored_pixel(image, format, first_bad) : 0;
    out[PIXELS_ALIKE] = differing == 0;
    // A mean of equal numbers need not be that number.
    out[PIXELS_SPREAD] = differing == 0 ? 0 : spread;
}
