// The matrix units, from compute capability 8.0 on: everything that CUDA C++ has no words for is here, as PTX.
//
// A warp multiplies a 16 x 32-byte slab by an 8 x 32-byte slab, 8 numbers of TF32 or 16 of FP16 along the inner
// dimension. Both kinds lie in registers in the same way, byte for byte.
#pragma once
#include "kernel.cuh"

// 1 where the kernels are compiled for float: matrix units take no double here.
#define IS_SINGLE_float 1
#define IS_SINGLE_double 0
#define IS_SINGLE_OF(scalar) IS_SINGLE_##scalar
#define IS_SINGLE(scalar) IS_SINGLE_OF(scalar)

#if defined(ON_CPU) || __CUDA_ARCH__ >= 800
#define HAS_MATRIX_UNITS IS_SINGLE(REAL)
#else
#define HAS_MATRIX_UNITS 0
#endif

// 1 on 9.0, compiled for it alone: four warps multiply together, from shared memory.
#if defined(ON_CPU) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define HAS_WIDE_MATRIX_UNITS IS_SINGLE(REAL)
#else
#define HAS_WIDE_MATRIX_UNITS 0
#endif

// For the measure of their speed only, so that all numbers of both factors are alike and no order of them counts: 64 x
// 32 bytes times 128 x 32 bytes, WIDE_REPEATS times a call, 64 sums a thread.
const u32 WIDE_SUMS = 64;
const u32 WIDE_REPEATS = 8;
const u32 WIDE_FACTOR_WORDS = 128 * 8;

// N registers.
template <u32 N> struct Words {
    u32 word[N];
};

#ifdef ON_CPU

// Where the lanes of a warp put what the others need.
struct GivenToWarp {
    Words<4> left;
    Words<2> right;
    const u32 *line;
};

DEVICE GivenToWarp *given_to_warp() {
    __shared__ GivenToWarp given[32][32];
    return given[threadIdx.x / 32];
}

// FP16 has no type of its own in the kernels.
DEVICE u16 to_half(float value) {
    u32 bits = __float_as_uint(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return 0x7fff;
    if (magnitude >= 0x477ff000) // 65520 and up round to infinity
        return sign | 0x7c00;
    if (magnitude < 0x38800000) {
        // Below 2^-14: a multiple of 2^-24. The sum rounds it, half to even.
        float sum = __uint_as_float(magnitude) + 0.5f;
        return sign | (__float_as_uint(sum) - 0x3f000000);
    }
    u32 odd = magnitude >> 13 & 1;
    return sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13);
}

DEVICE float of_half(u32 half) {
    u32 sign = (half & 0x8000) << 16, magnitude = half & 0x7fff;
    if (magnitude >= 0x7c00)
        return __uint_as_float(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
    if (magnitude < 0x400) {
        float value = (float)magnitude * 0x1p-24f;
        return __uint_as_float(__float_as_uint(value) | sign);
    }
    return __uint_as_float(sign | ((magnitude << 13) + 0x38000000));
}

// The nearest number of TF32, half away from zero.
DEVICE u32 to_tf32(u32 bits) {
    bool is_finite = (bits & 0x7f800000) != 0x7f800000;
    return is_finite ? (bits + 0x1000) & ~0x1fffu : bits;
}

// Copies 16 bytes to shared memory, or zeros.
DEVICE void copy_async(void *shared, const void *from, bool exists) {
    for (u32 i = 0; i < 4; i++)
        static_cast<u32 *>(shared)[i] = exists ? static_cast<const u32 *>(from)[i] : 0;
}

DEVICE void end_group_of_copies() {}

// Waits until at most N groups are on their way.
template <u32 N> DEVICE void wait_for_copies() {}

// Four 8 x 16-byte matrices; lane 8 m + r says where row r of matrix m lies. Word m of lane l is the word l % 4 of
// row l / 4 of matrix m.
DEVICE Words<4> load_matrices(const void *line) {
    GivenToWarp *warp = given_to_warp();
    u32 lane = threadIdx.x % 32;
    warp[lane].line = static_cast<const u32 *>(line);
    __syncwarp();
    Words<4> words;
    for (u32 m = 0; m < 4; m++)
        words.word[m] = warp[8 * m + lane / 4].line[lane % 4];
    __syncwarp();
    return words;
}

// The processor's own order of a slab's products is not known; here they are added one after another.
template <class Product>
DEVICE void multiply_add(float (&sum)[4], const Words<4> &left, const Words<2> &right, Product product) {
    GivenToWarp *warp = given_to_warp();
    u32 lane = threadIdx.x % 32;
    warp[lane].left = left;
    warp[lane].right = right;
    __syncwarp();
    for (u32 i = 0; i < 4; i++) {
        u32 row = lane / 4, column = lane % 4 * 2 + i % 2, lower = i / 2;
        for (u32 w = 0; w < 8; w++)
            sum[i] = product(sum[i], warp[4 * row + w % 4].left.word[w / 4 * 2 + lower],
                             warp[4 * column + w % 4].right.word[w / 4]);
    }
    __syncwarp();
}

DEVICE void multiply_add_tf32(float (&sum)[4], const Words<4> &left, const Words<2> &right) {
    multiply_add(sum, left, right, [](float sum, u32 a, u32 b) {
        // The processor does not look at the lowest bits.
        return sum + __uint_as_float(a & ~0x1fffu) * __uint_as_float(b & ~0x1fffu);
    });
}

DEVICE void multiply_add_fp16(float (&sum)[4], const Words<4> &left, const Words<2> &right) {
    multiply_add(sum, left, right, [](float sum, u32 a, u32 b) {
        sum += of_half(a & 0xffff) * of_half(b & 0xffff);
        return sum + of_half(a >> 16) * of_half(b >> 16);
    });
}

DEVICE void publish_to_wide_units() {}

DEVICE void multiply_wide_tf32(float (&sum)[WIDE_SUMS], const u32 *factor) {
    for (u32 i = 0; i < WIDE_SUMS; i++)
        for (u32 k = 0; k < 8 * WIDE_REPEATS; k++)
            sum[i] += __uint_as_float(factor[k % 8] & ~0x1fffu) * __uint_as_float(factor[k % 8] & ~0x1fffu);
}

DEVICE void multiply_wide_fp16(float (&sum)[WIDE_SUMS], const u32 *factor) {
    for (u32 i = 0; i < WIDE_SUMS; i++)
        for (u32 k = 0; k < 16 * WIDE_REPEATS; k++) {
            float value = of_half(factor[k % 16 / 2] >> k % 2 * 16 & 0xffff);
            sum[i] += value * value;
        }
}

#else

DEVICE u16 to_half(float value) {
    u16 half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
    return half;
}

#if HAS_MATRIX_UNITS

DEVICE u32 shared_address(const void *shared) {
    return (u32)__cvta_generic_to_shared(shared);
}

// The nearest number of TF32, half away from zero.
DEVICE u32 to_tf32(u32 bits) {
    u32 rounded;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(__uint_as_float(bits)));
    return rounded;
}

// Copies 16 bytes to shared memory, or zeros; past the first-level cache, which has no use for them.
DEVICE void copy_async(void *shared, const void *from, bool exists) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(from),
                 "r"(exists ? 16 : 0)
                 : "memory");
}

DEVICE void end_group_of_copies() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until at most N groups are on their way.
template <u32 N> DEVICE void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Four 8 x 16-byte matrices; lane 8 m + r says where row r of matrix m lies. Word m of lane l is the word l % 4 of
// row l / 4 of matrix m.
DEVICE Words<4> load_matrices(const void *line) {
    Words<4> words;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words.word[0]), "=r"(words.word[1]), "=r"(words.word[2]), "=r"(words.word[3])
                 : "r"(shared_address(line))
                 : "memory");
    return words;
}

DEVICE void multiply_add_tf32(float (&sum)[4], const Words<4> &left, const Words<2> &right) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(left.word[0]), "r"(left.word[1]), "r"(left.word[2]), "r"(left.word[3]), "r"(right.word[0]),
                   "r"(right.word[1]));
}

DEVICE void multiply_add_fp16(float (&sum)[4], const Words<4> &left, const Words<2> &right) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(left.word[0]), "r"(left.word[1]), "r"(left.word[2]), "r"(left.word[3]), "r"(right.word[0]),
                   "r"(right.word[1]));
}

#endif

#if HAS_WIDE_MATRIX_UNITS

// What threads wrote to shared memory is seen by these units only after this.
DEVICE void publish_to_wide_units() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Where a factor lies: pieces of 8 x 16 bytes, one behind the other along a line, lines 256 bytes apart; no swizzle.
DEVICE u64 wide_factor(const u32 *factor) {
    const u64 NEXT_PIECE = 128 / 16, NEXT_LINES = 256 / 16;
    return (u64)(shared_address(factor) >> 4 & 0x3fff) | NEXT_PIECE << 16 | NEXT_LINES << 32;
}

// The sums' registers, as operands %0 to %63 and as what the instruction takes.
#define WIDE_8(s, i) "+f"(s[i]), "+f"(s[i + 1]), "+f"(s[i + 2]), "+f"(s[i + 3]), "+f"(s[i + 4]), "+f"(s[i + 5]), "+f"(s[i + 6]), "+f"(s[i + 7])
#define WIDE_OPERANDS(s)                                                                                               \
    WIDE_8(s, 0), WIDE_8(s, 8), WIDE_8(s, 16), WIDE_8(s, 24), WIDE_8(s, 32), WIDE_8(s, 40), WIDE_8(s, 48), WIDE_8(s, 56)
#define WIDE_REGISTERS                                                                                                 \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, "       \
    "%23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, "   \
    "%45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}"
#define WIDE_TF32                                                                                                      \
    "wgmma.mma_async.sync.aligned.m64n128k8.f32.tf32.tf32 " WIDE_REGISTERS ", %64, %64, all, 1, 1;\n"
#define WIDE_FP16                                                                                                      \
    "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 " WIDE_REGISTERS ", %64, %64, all, 1, 1, 0, 0;\n"
// Begins WIDE_REPEATS products, and waits for them.
#define WIDE_ALL(one)                                                                                                  \
    "{\n.reg .pred all;\nsetp.eq.u32 all, 0, 0;\nwgmma.fence.sync.aligned;\n" one one one one one one one one            \
        "wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n}"

DEVICE void multiply_wide_tf32(float (&sum)[WIDE_SUMS], const u32 *factor) {
    asm volatile(WIDE_ALL(WIDE_TF32) : WIDE_OPERANDS(sum) : "l"(wide_factor(factor)) : "memory");
}

DEVICE void multiply_wide_fp16(float (&sum)[WIDE_SUMS], const u32 *factor) {
    asm volatile(WIDE_ALL(WIDE_FP16) : WIDE_OPERANDS(sum) : "l"(wide_factor(factor)) : "memory");
}

#endif
#endif
