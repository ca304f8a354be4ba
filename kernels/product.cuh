// A matrix product from registers: rows times columns, a tile of 64 x 128 results a block, 8 x 8 a thread.
//
// Both factors lie row by row along the inner dimension. Shared memory holds the next stretch of it while the present
// one is multiplied. The order of a sum depends on the length of the inner dimension only.
#pragma once
#include "kernel.cuh"

const u32 PRODUCT_ROWS = 64;
const u32 PRODUCT_COLUMNS = 128;
const u32 PRODUCT_THREADS = 128;
// Inner values of a stretch: 64 bytes of a row.
const u32 PRODUCT_STEP = 64 / sizeof(real);
// Stretches whose sum joins the others as one number.
const u32 PRODUCT_CHUNK = 8;

// Four values that are loaded as one.
struct alignas(16) Quad {
    real value[4];
};

// Lines of one factor as they lie in memory. A line beyond the last is the last.
struct PlainLines {
    const real *values;
    u32 stride, count;

    __device__ __forceinline__ Quad quad(u32 line, u32 k) const {
        return *reinterpret_cast<const Quad *>(values + (u64)min(line, count - 1) * stride + k);
    }
};

// |z|^2 of lines of complex values.
struct SquaredLines {
    const real *values;
    u32 stride, count;

    __device__ __forceinline__ Quad quad(u32 line, u32 k) const {
        const Quad *z = reinterpret_cast<const Quad *>(values + (u64)min(line, count - 1) * stride + 2 * k);
        Quad low = z[0], high = z[1];
        return {{low.value[0] * low.value[0] + low.value[1] * low.value[1],
                 low.value[2] * low.value[2] + low.value[3] * low.value[3],
                 high.value[0] * high.value[0] + high.value[1] * high.value[1],
                 high.value[2] * high.value[2] + high.value[3] * high.value[3]}};
    }
};

// A tile's stretch of one factor, inner dimension first.
template <u32 LINES> struct Stretch {
    // Four more than needed, so that neighbours along the inner dimension lie in other banks.
    alignas(16) real value[PRODUCT_STEP][LINES + 4];

    __device__ __forceinline__ const Quad &quad(u32 k, u32 line) const {
        return *reinterpret_cast<const Quad *>(&value[k][line]);
    }
};

// What a thread carries from memory into the next stretch.
template <u32 LINES> struct Carried {
    static constexpr u32 QUADS_A_LINE = PRODUCT_STEP / 4;
    static constexpr u32 QUADS = LINES * QUADS_A_LINE / PRODUCT_THREADS;
    Quad quad[QUADS];

    template <class Lines> __device__ __forceinline__ void load(const Lines &lines, u32 first_line, u32 k) {
#pragma unroll
        for (u32 i = 0; i < QUADS; i++) {
            u32 at = threadIdx.x + i * PRODUCT_THREADS;
            quad[i] = lines.quad(first_line + at / QUADS_A_LINE, k + at % QUADS_A_LINE * 4);
        }
    }

    __device__ __forceinline__ void store(Stretch<LINES> &stretch) const {
#pragma unroll
        for (u32 i = 0; i < QUADS; i++) {
            u32 at = threadIdx.x + i * PRODUCT_THREADS;
            u32 line = at / QUADS_A_LINE, k = at % QUADS_A_LINE * 4;
#pragma unroll
            for (u32 j = 0; j < 4; j++)
                stretch.value[k + j][line] = quad[i].value[j];
        }
    }
};

// Grid: (columns / 128, rows / 64), 128 threads. `ending.column(c).store(r, sum)` takes the results, those beyond the
// last row and column too.
template <class Rows, class Columns, class Ending>
DEVICE void multiply_tiles(const Rows &rows, const Columns &columns, u32 length, const Ending &ending) {
    __shared__ Stretch<PRODUCT_ROWS> row_stretch[2];
    __shared__ Stretch<PRODUCT_COLUMNS> column_stretch[2];
    Carried<PRODUCT_ROWS> carried_rows;
    Carried<PRODUCT_COLUMNS> carried_columns;
    u32 first_column = blockIdx.x * PRODUCT_COLUMNS, first_row = blockIdx.y * PRODUCT_ROWS;
    // A thread's results are two quads in each direction, so that a warp reads whole stretches of shared memory.
    u32 x = threadIdx.x % 16 * 4, y = threadIdx.x / 16 * 4;
    real total[8][8] = {};
    real sum[8][8] = {};
    u32 steps = (length + PRODUCT_STEP - 1) / PRODUCT_STEP;
    if (steps > 0) {
        carried_rows.load(rows, first_row, 0);
        carried_columns.load(columns, first_column, 0);
        carried_rows.store(row_stretch[0]);
        carried_columns.store(column_stretch[0]);
    }
    __syncthreads();
    for (u32 step = 0; step < steps; step++) {
        u32 present = step % 2;
        bool goes_on = step + 1 < steps;
        if (goes_on) {
            carried_rows.load(rows, first_row, (step + 1) * PRODUCT_STEP);
            carried_columns.load(columns, first_column, (step + 1) * PRODUCT_STEP);
        }
#pragma unroll
        for (u32 k = 0; k < PRODUCT_STEP; k++) {
            const Quad row[2] = {row_stretch[present].quad(k, y), row_stretch[present].quad(k, y + PRODUCT_ROWS / 2)};
            const Quad column[2] = {column_stretch[present].quad(k, x),
                                    column_stretch[present].quad(k, x + PRODUCT_COLUMNS / 2)};
#pragma unroll
            for (u32 i = 0; i < 8; i++)
#pragma unroll
                for (u32 j = 0; j < 8; j++)
                    sum[i][j] += row[i / 4].value[i % 4] * column[j / 4].value[j % 4];
        }
        // Double precision needs no such care; there its registers would be missing.
        if (sizeof(real) == 4 && (step % PRODUCT_CHUNK == PRODUCT_CHUNK - 1 || !goes_on)) {
#pragma unroll
            for (u32 i = 0; i < 8; i++)
#pragma unroll
                for (u32 j = 0; j < 8; j++) {
                    total[i][j] += sum[i][j];
                    sum[i][j] = 0;
                }
        }
        if (goes_on) {
            carried_rows.store(row_stretch[1 - present]);
            carried_columns.store(column_stretch[1 - present]);
        }
        __syncthreads();
    }
#pragma unroll
    for (u32 j = 0; j < 8; j++) {
        typename Ending::Column column = ending.column(first_column + x + j / 4 * (PRODUCT_COLUMNS / 2) + j % 4);
#pragma unroll
        for (u32 i = 0; i < 8; i++)
            column.store(first_row + y + i / 4 * (PRODUCT_ROWS / 2) + i % 4, sizeof(real) == 4 ? total[i][j] : sum[i][j]);
    }
}
