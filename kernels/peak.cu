// The most that the units of a device do: products and sums in registers only, in more chains than it takes to hide how
// long one lasts. What the forms of the coarse pass are measured against.
//
// All numbers are ones, so that the sums are the numbers of products: the host sees that none was left out. Such
// numbers draw little power, and a clock that sinks under real ones does not sink here: a peak for whole seconds is no
// higher than this.
#include "mma.cuh"

struct PeakArguments {
    // A number a thread.
    i64 *totals;
    u32 rounds;
    float one;
};

const u32 PEAK_THREADS = 256;
const u32 PEAK_CHAINS = 8;

DEVICE float multiply_add_real(float x, float y, float sum) {
    return __fmaf_rn(x, y, sum);
}

DEVICE double multiply_add_real(double x, double y, double sum) {
    return __fma_rn(x, y, sum);
}

// The ordinary units.
KERNEL_BOUNDED(PEAK_THREADS, peak_fma, PeakArguments) {
    real one = a.one, sum[2 * PEAK_CHAINS];
    // Chains that begin alike could be made one.
#pragma unroll
    for (u32 i = 0; i < 2 * PEAK_CHAINS; i++)
        sum[i] = real(i);
    for (u32 round = 0; round < a.rounds; round++)
#pragma unroll
        for (u32 i = 0; i < 2 * PEAK_CHAINS; i++)
            sum[i] = multiply_add_real(one, one, sum[i]);
    i64 total = 0;
#pragma unroll
    for (u32 i = 0; i < 2 * PEAK_CHAINS; i++)
        total += nearest(sum[i]) - i;
    a.totals[thread_number()] = total;
}

#if HAS_MATRIX_UNITS

struct InTf32Units {
    DEVICE void multiply(float (&sum)[4], const Words<4> &left, const Words<2> &right) {
        multiply_add_tf32(sum, left, right);
    }
#if HAS_WIDE_MATRIX_UNITS
    DEVICE void multiply_wide(float (&sum)[WIDE_SUMS], const u32 *factor) {
        multiply_wide_tf32(sum, factor);
    }
#endif
};

struct InFp16Units {
    DEVICE void multiply(float (&sum)[4], const Words<4> &left, const Words<2> &right) {
        multiply_add_fp16(sum, left, right);
    }
#if HAS_WIDE_MATRIX_UNITS
    DEVICE void multiply_wide(float (&sum)[WIDE_SUMS], const u32 *factor) {
        multiply_wide_fp16(sum, factor);
    }
#endif
};

template <class Units> DEVICE void repeat(const PeakArguments &a, u32 ones) {
    Words<4> left = {{ones, ones, ones, ones}};
    Words<2> right = {{ones, ones}};
    float sum[PEAK_CHAINS][4] = {};
    for (u32 round = 0; round < a.rounds; round++)
#pragma unroll
        for (u32 i = 0; i < PEAK_CHAINS; i++)
            Units::multiply(sum[i], left, right);
    i64 total = 0;
#pragma unroll
    for (u32 i = 0; i < PEAK_CHAINS; i++)
#pragma unroll
        for (u32 n = 0; n < 4; n++)
            total += nearest(sum[i][n]);
    a.totals[thread_number()] = total;
}

// The matrix units, by the instructions that the forms use.
KERNEL_BOUNDED(PEAK_THREADS, peak_tf32, PeakArguments) {
    repeat<InTf32Units>(a, __float_as_uint(a.one));
}

KERNEL_BOUNDED(PEAK_THREADS, peak_fp16, PeakArguments) {
    repeat<InFp16Units>(a, to_half(a.one) * 0x10001u);
}

#endif

#if HAS_WIDE_MATRIX_UNITS

// The same units by the instructions of compute capability 9.0, which four warps start together and which read the
// factors from shared memory.
template <class Units> DEVICE void repeat_wide(const PeakArguments &a, u32 ones) {
    alignas(128) __shared__ u32 factor[WIDE_FACTOR_WORDS];
    for (u32 i = threadIdx.x; i < WIDE_FACTOR_WORDS; i += blockDim.x)
        factor[i] = ones;
    publish_to_wide_units();
    __syncthreads();
    float sum[WIDE_SUMS] = {};
    for (u32 round = 0; round < a.rounds; round++)
        Units::multiply_wide(sum, factor);
    i64 total = 0;
#pragma unroll
    for (u32 i = 0; i < WIDE_SUMS; i++)
        total += nearest(sum[i]);
    a.totals[thread_number()] = total;
}

KERNEL_BOUNDED(PEAK_THREADS, peak_wide_tf32, PeakArguments) {
    repeat_wide<InTf32Units>(a, __float_as_uint(a.one));
}

KERNEL_BOUNDED(PEAK_THREADS, peak_wide_fp16, PeakArguments) {
    repeat_wide<InFp16Units>(a, to_half(a.one) * 0x10001u);
}

#endif
