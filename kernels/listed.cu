// The coarse pass of local searches: every particle has its own list of poses. One thread block compares one listed
// pose with all translations of its particle.
#include "pair.cuh"
#include "posterior.cuh"

// A pose of a particle's list.
struct Listed {
    u32 particle, class_number;
    // Its place in the particle's list.
    u32 place, unused;
};

struct ListedArguments {
    Slices slices;
    Compared compared;
    const Listed *listed;
    const real *log_priors;
    // Energies of a particle begin at ranges[2 p]; a pose's translations lie together.
    const u64 *ranges;
    real *energies;
};

#define AT_ONCE 16  /* translations */
#define THREADS 128

// Grid: listed poses; 128 threads.
KERNEL(listed, ListedArguments) {
    __shared__ real of_warps[AT_ONCE + 1][THREADS / 32];
    const Listed pose = a.listed[blockIdx.x];
    const Compared &compared = a.compared;
    const Images masked = compared.masked;
    const real *powers = compared.powers + (u64)pose.particle * compared.power_stride;
    for (u32 t0 = 0; t0 < compared.translations; t0 += AT_ONCE) {
        real sums[AT_ONCE] = {}, square = 0;
        for (u32 k = threadIdx.x; k < masked.pixels; k += THREADS) {
            complex slice = slice_at(a.slices, pose.class_number, blockIdx.x, k);
            complex image = masked.images[(u64)pose.particle * masked.stride + k];
            square += (slice.re * slice.re + slice.im * slice.im) * powers[k];
            // Re P conj(F phase) = Re (P conj F) conj(phase)
            complex product = times_conjugate(slice, image);
#pragma unroll
            for (u32 t = 0; t < AT_ONCE; t++)
                if (t0 + t < compared.translations) {
                    complex phase = masked.phases[(u64)(t0 + t) * masked.stride + k];
                    sums[t] += product.re * phase.re + product.im * phase.im;
                }
        }
        // One fixed tree over the threads.
#pragma unroll
        for (u32 t = 0; t <= AT_ONCE; t++) {
            real sum = t < AT_ONCE ? sums[t < AT_ONCE ? t : 0] : square;
            for (int step = 16; step > 0; step >>= 1)
                sum += __shfl_down_sync(0xffffffffu, sum, step);
            if (threadIdx.x % 32 == 0)
                of_warps[t][threadIdx.x / 32] = sum;
        }
        __syncthreads();
        u32 t = t0 + threadIdx.x;
        if (threadIdx.x < AT_ONCE && t < compared.translations) {
            real product = 0, power = 0;
            for (u32 w = 0; w < THREADS / 32; w++) {
                product += of_warps[threadIdx.x][w];
                power += of_warps[AT_ONCE][w];
            }
            real log_offset = compared.log_offsets[(u64)pose.particle * compared.offset_stride + t];
            a.energies[a.ranges[2 * pose.particle] + (u64)pose.place * compared.translations + t] =
                energy_of(compared, pose.particle, power, product, a.log_priors[blockIdx.x], log_offset);
        }
        __syncthreads();
    }
}
#undef AT_ONCE
#undef THREADS
