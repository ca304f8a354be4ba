// What is outside a soft mask becomes its weighted mean, or noise.
#include "prepare.cuh"

struct MaskArguments {
    // [particle][pixel]
    double *images;
    // What replaces the outside: by particle and pixel.
    const double *noise;
    // Weight of the outside per pixel, and their sum.
    const double *outside;
    double outside_sum;
    u32 pixels;
};

// Grid: (1, particles); SUM_THREADS threads. Only where the mask has an outside.
KERNEL(mask_with_mean, MaskArguments) {
    double *image = a.images + (u64)blockIdx.y * a.pixels;
    double sum = 0;
    for (u32 i = threadIdx.x; i < a.pixels; i += SUM_THREADS)
        sum += image[i] * a.outside[i];
    double mean = block_sum(sum) / a.outside_sum;
    for (u32 i = threadIdx.x; i < a.pixels; i += SUM_THREADS)
        image[i] = (1 - a.outside[i]) * image[i] + a.outside[i] * mean;
}

// Grid: (pixels / threads, particles).
KERNEL(mask_with_noise, MaskArguments) {
    u32 i = (u32)thread_number();
    if (i >= a.pixels)
        return;
    u64 at = (u64)blockIdx.y * a.pixels + i;
    a.images[at] = (1 - a.outside[i]) * a.images[at] + a.outside[i] * a.noise[at];
}
