// The rows that the products take: images and CTF powers times the noise weights, and the largest of them.
#include "prepare.cuh"

struct FactorsArguments {
    const ParticleToPrepare *particles;
    // [particle][pixel]
    const wide *masked_images, *unmasked_images;
    const double *ctfs;
    // 1/sigma2 per pixel.
    const double *noise_weights;
    // [particle][stride]
    complex *masked, *unmasked;
    real *power, *weight;
    // [particle][result_stride]
    double *results;
    u32 pixels, stride, result_stride;
    // Images were multiplied by their CTF before; masked images are compared with the noise in view.
    u32 is_premultiplied, is_weighed;
};

DEVICE complex narrowed(wide a) {
    return {(real)a.re, (real)a.im};
}

// Grid: (1, particles); SUM_THREADS threads. Values from `pixels` to `stride` become zero.
KERNEL(factors, FactorsArguments) {
    const ParticleToPrepare &particle = a.particles[blockIdx.y];
    u64 from = (u64)blockIdx.y * a.pixels, to = (u64)blockIdx.y * a.stride;
    double correlation_power = 0, largest_data = 0, largest_weight = 0;
    for (u32 i = threadIdx.x; i < a.pixels; i += SUM_THREADS) {
        double c = a.ctfs[from + i], v = a.noise_weights[i], in_products = a.is_weighed ? v : 1.0;
        wide masked = a.masked_images[from + i];
        a.masked[to + i] = narrowed(masked * (in_products * c));
        a.power[to + i] = (real)(in_products * c * c);
        wide unmasked = a.unmasked_images[from + i] * (v * (a.is_premultiplied ? particle.group_scale : c));
        a.unmasked[to + i] = narrowed(unmasked);
        double weight = v * (a.is_premultiplied ? c * particle.group_scale : c * c);
        a.weight[to + i] = (real)weight;
        correlation_power += square_norm(masked);
        largest_data = fmax(largest_data, square_norm(unmasked));
        largest_weight = fmax(largest_weight, weight);
    }
    for (u32 i = a.pixels + threadIdx.x; i < a.stride; i += SUM_THREADS) {
        a.masked[to + i] = a.unmasked[to + i] = {0, 0};
        a.power[to + i] = a.weight[to + i] = 0;
    }
    correlation_power = block_sum(correlation_power);
    largest_data = block_largest(largest_data);
    largest_weight = block_largest(largest_weight);
    if (threadIdx.x > 0)
        return;
    double *out = a.results + (u64)blockIdx.y * a.result_stride;
    out[RESULT_CORRELATION_POWER] = correlation_power;
    out[RESULT_LARGEST_DATA] = largest_data;
    out[RESULT_LARGEST_WEIGHT] = largest_weight;
}
