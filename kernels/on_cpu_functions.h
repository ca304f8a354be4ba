// The twin's functions: those of CUDA's that kernels use, with its types and no more, so that what compiles here
// compiles there.
#pragma once

#include <type_traits>

#define ON_CPU_HERE std::source_location here = std::source_location::current()

inline void __syncthreads(ON_CPU_HERE) {
    cuda_on_cpu::block().meet_all(here.line());
}
inline void __syncwarp(unsigned mask = 0xffffffffu, ON_CPU_HERE) {
    cuda_on_cpu::ballot(mask, false, here);
}
inline void __threadfence() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
}
inline void __threadfence_block() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
}

// Between the lanes of a warp, in groups of `width`.
template <class T> inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, ON_CPU_HERE) {
    unsigned first = cuda_on_cpu::lane() & ~unsigned(width - 1);
    return cuda_on_cpu::exchange(mask, value, first + (source & (width - 1)), here);
}
template <class T> inline T __shfl_down_sync(unsigned mask, T value, unsigned step, int width = 32, ON_CPU_HERE) {
    unsigned lane = cuda_on_cpu::lane(), within = lane & (width - 1);
    return cuda_on_cpu::exchange(mask, value, within + step < unsigned(width) ? lane + step : lane, here);
}
template <class T> inline T __shfl_up_sync(unsigned mask, T value, unsigned step, int width = 32, ON_CPU_HERE) {
    unsigned lane = cuda_on_cpu::lane(), within = lane & (width - 1);
    return cuda_on_cpu::exchange(mask, value, within >= step ? lane - step : lane, here);
}
template <class T> inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, ON_CPU_HERE) {
    unsigned lane = cuda_on_cpu::lane(), source = lane ^ unsigned(bits);
    // A lane of a later group gives nothing.
    unsigned last = lane | unsigned(width - 1);
    return cuda_on_cpu::exchange(mask, value, source <= last ? source : lane, here);
}
inline unsigned __ballot_sync(unsigned mask, int vote, ON_CPU_HERE) {
    return cuda_on_cpu::ballot(mask, vote != 0, here);
}
inline int __any_sync(unsigned mask, int vote, ON_CPU_HERE) {
    return cuda_on_cpu::ballot(mask, vote != 0, here) != 0;
}
inline int __all_sync(unsigned mask, int vote, ON_CPU_HERE) {
    return cuda_on_cpu::ballot(mask, vote == 0, here) == 0;
}

// Integers only: sums of floating-point numbers would depend on the order.
#define ON_CPU_ATOMIC_SUM(T)                                                                                           \
    inline T atomicAdd(T *place, T value) {                                                                            \
        return std::atomic_ref<T>(*place).fetch_add(value);                                                            \
    }
ON_CPU_ATOMIC_SUM(int)
ON_CPU_ATOMIC_SUM(unsigned)
ON_CPU_ATOMIC_SUM(unsigned long long)
#undef ON_CPU_ATOMIC_SUM

#define ON_CPU_ATOMIC_EXTREME(T)                                                                                       \
    inline T atomicMin(T *place, T value) {                                                                            \
        std::atomic_ref<T> now(*place);                                                                                \
        T old = now.load();                                                                                            \
        while (value < old && !now.compare_exchange_weak(old, value)) {                                                \
        }                                                                                                              \
        return old;                                                                                                    \
    }                                                                                                                  \
    inline T atomicMax(T *place, T value) {                                                                            \
        std::atomic_ref<T> now(*place);                                                                                \
        T old = now.load();                                                                                            \
        while (old < value && !now.compare_exchange_weak(old, value)) {                                                \
        }                                                                                                              \
        return old;                                                                                                    \
    }
ON_CPU_ATOMIC_EXTREME(int)
ON_CPU_ATOMIC_EXTREME(unsigned)
ON_CPU_ATOMIC_EXTREME(long long)
ON_CPU_ATOMIC_EXTREME(unsigned long long)
#undef ON_CPU_ATOMIC_EXTREME

#define ON_CPU_ATOMIC_BITS(T)                                                                                          \
    inline T atomicOr(T *place, T value) {                                                                             \
        return std::atomic_ref<T>(*place).fetch_or(value);                                                             \
    }                                                                                                                  \
    inline T atomicAnd(T *place, T value) {                                                                            \
        return std::atomic_ref<T>(*place).fetch_and(value);                                                            \
    }                                                                                                                  \
    inline T atomicExch(T *place, T value) {                                                                           \
        return std::atomic_ref<T>(*place).exchange(value);                                                             \
    }                                                                                                                  \
    inline T atomicCAS(T *place, T wanted, T value) {                                                                  \
        std::atomic_ref<T>(*place).compare_exchange_strong(wanted, value);                                             \
        return wanted;                                                                                                 \
    }
ON_CPU_ATOMIC_BITS(int)
ON_CPU_ATOMIC_BITS(unsigned)
ON_CPU_ATOMIC_BITS(unsigned long long)
#undef ON_CPU_ATOMIC_BITS

template <class T> inline T __ldg(const T *place) {
    return *place;
}

// Bits.
inline int __float_as_int(float x) {
    return __builtin_bit_cast(int, x);
}
inline unsigned __float_as_uint(float x) {
    return __builtin_bit_cast(unsigned, x);
}
inline float __int_as_float(int x) {
    return __builtin_bit_cast(float, x);
}
inline float __uint_as_float(unsigned x) {
    return __builtin_bit_cast(float, x);
}
inline long long __double_as_longlong(double x) {
    return __builtin_bit_cast(long long, x);
}
inline double __longlong_as_double(long long x) {
    return __builtin_bit_cast(double, x);
}
inline int __popc(unsigned x) {
    return __builtin_popcount(x);
}
inline int __popcll(unsigned long long x) {
    return __builtin_popcountll(x);
}
inline int __ffs(int x) {
    return __builtin_ffs(x);
}
inline int __ffsll(long long x) {
    return __builtin_ffsll(x);
}
inline int __clz(int x) {
    return x ? __builtin_clz(unsigned(x)) : 32;
}
inline int __clzll(long long x) {
    return x ? __builtin_clzll((unsigned long long)x) : 64;
}
inline unsigned __brev(unsigned x) {
    unsigned y = 0;
    for (int bit = 0; bit < 32; bit++)
        y |= (x >> bit & 1) << (31 - bit);
    return y;
}
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
    return (unsigned __int128)x * y >> 64;
}
inline unsigned __umulhi(unsigned x, unsigned y) {
    return (unsigned long long)x * y >> 32;
}

// Conversions: _rn to the nearest, half to even; _rd down; _rz towards zero. Out of range they saturate, NaN is 0, as on
// a GPU (64 bits: the least number).
namespace {
namespace cuda_on_cpu {
template <class I, class F> inline I convert(F rounded) {
    if (rounded != rounded)
        return sizeof(I) == 8 ? I(1) << (sizeof(I) * 8 - 1) : 0;
    F above = std::ldexp(F(1), sizeof(I) * 8 - std::is_signed_v<I>);
    F least = std::is_signed_v<I> ? -above : F(0);
    I most = I(~I(0)) > 0 ? ~I(0) : I(~(1ull << (sizeof(I) * 8 - 1)));
    return rounded >= above ? most : rounded <= least ? I(least) : I(rounded);
}
} // namespace cuda_on_cpu
} // namespace
#define ON_CPU_CONVERT(name, F, I)                                                                                     \
    inline I name##_rn(F x) {                                                                                          \
        return cuda_on_cpu::convert<I>(std::nearbyint(x));                                                             \
    }                                                                                                                  \
    inline I name##_rd(F x) {                                                                                          \
        return cuda_on_cpu::convert<I>(std::floor(x));                                                                 \
    }                                                                                                                  \
    inline I name##_rz(F x) {                                                                                          \
        return cuda_on_cpu::convert<I>(std::trunc(x));                                                                 \
    }
ON_CPU_CONVERT(__float2int, float, int)
ON_CPU_CONVERT(__float2uint, float, unsigned)
ON_CPU_CONVERT(__float2ll, float, long long)
ON_CPU_CONVERT(__double2int, double, int)
ON_CPU_CONVERT(__double2uint, double, unsigned)
ON_CPU_CONVERT(__double2ll, double, long long)
#undef ON_CPU_CONVERT

// Arithmetic that no compiler contracts.
#define ON_CPU_ARITHMETIC(T, letter, fused)                                                                            \
    inline T __##letter##add_rn(T x, T y) {                                                                            \
        return x + y;                                                                                                  \
    }                                                                                                                  \
    inline T __##letter##sub_rn(T x, T y) {                                                                            \
        return x - y;                                                                                                  \
    }                                                                                                                  \
    inline T __##letter##mul_rn(T x, T y) {                                                                            \
        return x * y;                                                                                                  \
    }                                                                                                                  \
    inline T __##letter##div_rn(T x, T y) {                                                                            \
        return x / y;                                                                                                  \
    }                                                                                                                  \
    inline T __##letter##sqrt_rn(T x) {                                                                                \
        return std::sqrt(x);                                                                                           \
    }                                                                                                                  \
    inline T fused(T x, T y, T z) {                                                                                    \
        return std::fma(x, y, z);                                                                                      \
    }
ON_CPU_ARITHMETIC(float, f, __fmaf_rn)
ON_CPU_ARITHMETIC(double, d, __fma_rn)
#undef ON_CPU_ARITHMETIC

template <class T> inline T min(T x, T y) {
    if constexpr (std::is_floating_point_v<T>)
        return std::fmin(x, y);
    else
        return y < x ? y : x;
}
template <class T> inline T max(T x, T y) {
    if constexpr (std::is_floating_point_v<T>)
        return std::fmax(x, y);
    else
        return x < y ? y : x;
}

inline float rsqrtf(float x) {
    return float(1 / std::sqrt(double(x)));
}
inline float rsqrt(float x) {
    return rsqrtf(x);
}
inline double rsqrt(double x) {
    return 1 / std::sqrt(x);
}
inline void sincos(float x, float *sine, float *cosine) {
    ::sincosf(x, sine, cosine);
}
// Of pi x; the reduction is exact.
inline void sincospi(double x, double *sine, double *cosine) {
    double quarters = std::nearbyint(2 * x);
    double s, c;
    ::sincos(M_PI * (x - quarters / 2), &s, &c);
    switch (int(quarters - 4 * std::floor(quarters / 4))) {
    case 0:
        *sine = s, *cosine = c;
        break;
    case 1:
        *sine = c, *cosine = -s;
        break;
    case 2:
        *sine = -s, *cosine = -c;
        break;
    default:
        *sine = -c, *cosine = s;
    }
}
inline void sincospi(float x, float *sine, float *cosine) {
    double s, c;
    sincospi(double(x), &s, &c);
    *sine = float(s), *cosine = float(c);
}
inline void sincospif(float x, float *sine, float *cosine) {
    sincospi(x, sine, cosine);
}
#undef ON_CPU_HERE
