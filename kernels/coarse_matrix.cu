// Coarse energies by the matrix units: TF32, FP16 with sums in FP32, and 3xTF32, which is as exact as FP32.
//
// A tile of 128 projections x 128 columns a block; stretches of 128 bytes of every line come three deep into shared
// memory while earlier ones are multiplied. The units round sums towards zero, so they add short chunks only, and
// chunks are added by the ordinary units.
#include "energy.cuh"
#include "mma.cuh"

#if HAS_MATRIX_UNITS

const u32 MATRIX_TILE = 128;
const u32 MATRIX_THREADS = 256;
const u32 MATRIX_STAGES = 3;
// Bytes of a line in a stretch, and of the pieces in which they are copied and multiplied.
const u32 STRETCH_BYTES = 128;
const u32 PIECE_BYTES = 16;
const u32 PIECES = STRETCH_BYTES / PIECE_BYTES;
const u32 SLAB_PIECES = 2;
const u32 FACTOR_BYTES = MATRIX_TILE * STRETCH_BYTES;
// A warp makes 64 x 32 products: 4 x 4 of the units' 16 x 8.
const u32 WARP_ROWS = 64, WARP_COLUMNS = 32;
const u32 UNIT_ROWS = 16, UNIT_COLUMNS = 8;
const u32 DOWN = WARP_ROWS / UNIT_ROWS, ACROSS = WARP_COLUMNS / UNIT_COLUMNS;

// A factor's numbers for the units, and what 3xTF32 adds to them.
template <u32 N> struct Operand {
    Words<N> value, rest;
};

struct InTf32 {
    // Stretches of a chunk.
    static constexpr u32 CHUNK = 4;

    template <u32 N> DEVICE Operand<N> operand(const Words<N> &raw) {
        Operand<N> operand;
#pragma unroll
        for (u32 i = 0; i < N; i++)
            operand.value.word[i] = to_tf32(raw.word[i]);
        return operand;
    }

    DEVICE void add(float (&sum)[4], const Operand<4> &row, const Operand<2> &column) {
        multiply_add_tf32(sum, row.value, column.value);
    }
};

struct InFp16 {
    static constexpr u32 CHUNK = 4;

    template <u32 N> DEVICE Operand<N> operand(const Words<N> &raw) {
        Operand<N> operand;
        operand.value = raw;
        return operand;
    }

    DEVICE void add(float (&sum)[4], const Operand<4> &row, const Operand<2> &column) {
        multiply_add_fp16(sum, row.value, column.value);
    }
};

// x = value + rest, two numbers of TF32: of the four products all but rest * rest count in FP32.
struct InThreeTf32 {
    static constexpr u32 CHUNK = 1;

    template <u32 N> DEVICE Operand<N> operand(const Words<N> &raw) {
        Operand<N> operand;
#pragma unroll
        for (u32 i = 0; i < N; i++) {
            u32 value = to_tf32(raw.word[i]);
            operand.value.word[i] = value;
            operand.rest.word[i] = to_tf32(__float_as_uint(__uint_as_float(raw.word[i]) - __uint_as_float(value)));
        }
        return operand;
    }

    // The small ones first.
    DEVICE void add(float (&sum)[4], const Operand<4> &row, const Operand<2> &column) {
        multiply_add_tf32(sum, row.rest, column.value);
        multiply_add_tf32(sum, row.value, column.rest);
        multiply_add_tf32(sum, row.value, column.value);
    }
};

// Lines of one factor in memory, in bytes.
struct Lines {
    const u8 *bytes;
    u64 stride;
    u32 count, length;
};

// A piece lies where the pieces of eight neighbouring lines fall into different banks.
DEVICE u32 place_of_piece(u32 line, u32 piece) {
    return line * STRETCH_BYTES + (piece ^ line % PIECES) * PIECE_BYTES;
}

DEVICE void copy_stretch(u8 *shared, const Lines &lines, u32 first_line, u32 step) {
#pragma unroll
    for (u32 at = threadIdx.x; at < MATRIX_TILE * PIECES; at += MATRIX_THREADS) {
        u32 line = at / PIECES, piece = at % PIECES;
        u32 byte = step * STRETCH_BYTES + piece * PIECE_BYTES;
        bool exists = first_line + line < lines.count && byte < lines.length;
        const u8 *from = exists ? lines.bytes + (first_line + line) * lines.stride + byte : lines.bytes;
        copy_async(shared + place_of_piece(line, piece), from, exists);
    }
}

// Both factors of a stretch, or an empty group after the last.
DEVICE void copy_stretches(u8 *shared, const Lines &rows, const Lines &columns, u32 step, u32 steps) {
    if (step < steps) {
        u8 *stage = shared + step % MATRIX_STAGES * 2 * FACTOR_BYTES;
        copy_stretch(stage, rows, blockIdx.y * MATRIX_TILE, step);
        copy_stretch(stage + FACTOR_BYTES, columns, blockIdx.x * MATRIX_TILE, step);
    }
    end_group_of_copies();
}

// A stretch's products of one warp.
template <class Form> DEVICE void multiply_stretch(float (&sum)[DOWN][ACROSS][4], const u8 *stage, u32 row, u32 column) {
    u32 lane = threadIdx.x % 32, matrix = lane / 8, line = lane % 8;
#pragma unroll
    for (u32 slab = 0; slab < PIECES; slab += SLAB_PIECES) {
        Operand<4> left[DOWN];
#pragma unroll
        for (u32 i = 0; i < DOWN; i++) {
            // Upper and lower half of the rows, then the same of the slab's second piece.
            u32 at = row + i * UNIT_ROWS + matrix % 2 * 8 + line;
            left[i] = Form::template operand<4>(load_matrices(stage + place_of_piece(at, slab + matrix / 2)));
        }
#pragma unroll
        for (u32 j = 0; j < ACROSS; j += 2) {
            // Both pieces of eight columns, then of the next eight.
            u32 at = column + j * UNIT_COLUMNS + matrix / 2 * 8 + line;
            Words<4> both = load_matrices(stage + FACTOR_BYTES + place_of_piece(at, slab + matrix % 2));
#pragma unroll
            for (u32 next = 0; next < 2; next++) {
                Words<2> own = {{both.word[2 * next], both.word[2 * next + 1]}};
                Operand<2> right = Form::template operand<2>(own);
#pragma unroll
                for (u32 i = 0; i < DOWN; i++)
                    Form::add(sum[i][j + next], left[i], right);
            }
        }
    }
}

template <class Form> DEVICE void multiply_by_units(const CoarseArguments &a, const Lines &rows, const Lines &columns, float unscale) {
    DYNAMIC_SHARED(u8, shared);
    u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    u32 row = warp / (MATRIX_TILE / WARP_COLUMNS) * WARP_ROWS;
    u32 column = warp % (MATRIX_TILE / WARP_COLUMNS) * WARP_COLUMNS;
    u32 steps = (rows.length + STRETCH_BYTES - 1) / STRETCH_BYTES;
    float total[DOWN][ACROSS][4] = {};
    float sum[DOWN][ACROSS][4] = {};
    for (u32 step = 0; step < MATRIX_STAGES - 1; step++)
        copy_stretches(shared, rows, columns, step, steps);
    for (u32 step = 0; step < steps; step++) {
        // This stretch is there, and all have left the one whose place the next copies take.
        wait_for_copies<MATRIX_STAGES - 2>();
        __syncthreads();
        copy_stretches(shared, rows, columns, step + MATRIX_STAGES - 1, steps);
        multiply_stretch<Form>(sum, shared + step % MATRIX_STAGES * 2 * FACTOR_BYTES, row, column);
        if (step % Form::CHUNK == Form::CHUNK - 1 || step + 1 == steps) {
#pragma unroll
            for (u32 i = 0; i < DOWN; i++)
#pragma unroll
                for (u32 j = 0; j < ACROSS; j++)
#pragma unroll
                    for (u32 n = 0; n < 4; n++) {
                        total[i][j][n] += sum[i][j][n];
                        sum[i][j][n] = 0;
                    }
        }
    }
    u32 pose = blockIdx.y * MATRIX_TILE + row + lane / 4;
#pragma unroll
    for (u32 j = 0; j < ACROSS; j++)
#pragma unroll
        for (u32 n = 0; n < 2; n++) {
            EnergyColumn to(a, blockIdx.x * MATRIX_TILE + column + j * UNIT_COLUMNS + lane % 4 * 2 + n);
#pragma unroll
            for (u32 i = 0; i < DOWN; i++) {
                to.store(pose + i * UNIT_ROWS, unscale * total[i][j][n]);
                to.store(pose + i * UNIT_ROWS + 8, unscale * total[i][j][n + 2]);
            }
        }
}

// In bytes; values beyond the length are zeros up to a multiple of 32.
DEVICE Lines lines(const void *values, u32 stride, u32 count, u32 length, u32 value_bytes) {
    return {static_cast<const u8 *>(values), (u64)stride * value_bytes, count, (length + 31) / 32 * 32 * value_bytes};
}

template <class Form> DEVICE void multiply_floats(const CoarseArguments &a) {
    multiply_by_units<Form>(a, lines(a.rows, a.row_stride, a.poses, a.length, 4),
                            lines(a.columns, a.column_stride, column_count(a), a.length, 4), 1);
}

// Grid of all: (columns / 128, poses / 128), 256 threads, 96 KiB of dynamic shared memory.
KERNEL_BOUNDED(MATRIX_THREADS, coarse_tf32, CoarseArguments) {
    multiply_floats<InTf32>(a);
}

KERNEL_BOUNDED(MATRIX_THREADS, coarse_three_tf32, CoarseArguments) {
    multiply_floats<InThreeTf32>(a);
}

KERNEL_BOUNDED(MATRIX_THREADS, coarse_fp16, CoarseArguments) {
    multiply_by_units<InFp16>(a, lines(a.narrow_rows, a.row_stride, a.poses, a.length, 2),
                              lines(a.narrow_columns, a.column_stride, column_count(a), a.length, 2), (float)a.unscale);
}

#endif
