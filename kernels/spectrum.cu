// Sums over the shells of an image: of |F|^2 over a half transform, and of a real value over the compared pixels.
#include "prepare.cuh"

struct SpectrumArguments {
    // [particle][coefficient]; or none, and `values` are summed.
    const wide *halves;
    // [particle][pixel]
    const double *values;
    // Coefficients by shell, and where each shell begins (and the last ends); `values` lie by shell already.
    const u32 *order;
    const u32 *starts;
    // [particle][result_stride]: one number a shell from `result` on.
    double *results;
    // Of a row of `halves` or `values`.
    u32 stride;
    u32 result_stride, result;
};

// Grid: (shells, particles); SUM_THREADS threads.
KERNEL(spectrum, SpectrumArguments) {
    u32 shell = blockIdx.x;
    u64 row = (u64)blockIdx.y * a.stride;
    double sum = 0;
    for (u32 i = a.starts[shell] + threadIdx.x; i < a.starts[shell + 1]; i += SUM_THREADS)
        sum += a.halves ? square_norm(a.halves[row + a.order[i]]) : a.values[row + i];
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        a.results[(u64)blockIdx.y * a.result_stride + a.result + shell] = sum;
}
