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
#endif
