/* What differs between instruction sets and not between dtypes: widths and the 64-bit lanes of Philox.

   The instruction set is the one that the compiler builds for (-march); everything else is
   written in GCC's vector extension, which Clang shares, and compiles for any processor. */
#ifndef SIMDROP_ISA_H
#define SIMDROP_ISA_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline, unused))

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define SIMDROP_AVX512 1
#define VBYTES 64
#define MM(op) _mm512_##op
#elif defined(__AVX2__) && defined(__FMA__) && defined(__BMI2__)
#define SIMDROP_AVX2 1
#define VBYTES 32
#define MM(op) _mm256_##op
#elif defined(__SSE2__)
#define SIMDROP_SSE2 1
#define VBYTES 16
#define MM(op) _mm_##op
#else
#define VBYTES 16
#endif

#define U64_LANES (VBYTES / 8)

typedef uint64_t u64v __attribute__((vector_size(VBYTES)));
typedef uint32_t u32v __attribute__((vector_size(VBYTES)));
typedef int32_t i32v __attribute__((vector_size(VBYTES)));

INLINE u64v u64_splat(uint64_t value) { return (u64v){0} + value; }

/* The 64-bit products of the low 32 bits of each lane. */
INLINE u64v u64_multiply_low(u64v a, u64v b) {
#if defined(SIMDROP_AVX512)
    return (u64v)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(SIMDROP_AVX2)
    return (u64v)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(SIMDROP_SSE2)
    return (u64v)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
    const u64v low = u64_splat(UINT64_C(0xFFFFFFFF));
    return (a & low) * (b & low);
#endif
}

/* Bits 2 l and 2 l + 1: whether the low halves of lane l of a and of b are above `limit`. */
INLINE uint32_t u64_above(u64v a, u64v b, uint32_t limit) {
#if defined(SIMDROP_AVX512)
    const __m512i both = _mm512_mask_shuffle_epi32((__m512i)a, 0xAAAA, (__m512i)b, _MM_PERM_CCAA);
    return _mm512_cmpgt_epu32_mask(both, _mm512_set1_epi32((int)limit));
#else
    const uint32_t sign = UINT32_C(1) << 31; /* unsigned numbers in the order of signed ones */
    const u64v both = (a & u64_splat(UINT64_C(0xFFFFFFFF))) | b << 32;
    const i32v above = (i32v)((u32v)both ^ sign) > (i32v)(((u32v){0} + limit) ^ sign);
#if defined(SIMDROP_AVX2)
    return (uint32_t)_mm256_movemask_ps((__m256)above);
#elif defined(SIMDROP_SSE2)
    return (uint32_t)_mm_movemask_ps((__m128)above);
#else
    uint32_t bits = 0;
    for (int l = 0; l < 2 * U64_LANES; l++) bits |= (uint32_t)(above[l] & 1) << l;
    return bits;
#endif
#endif
}

/* Bits 2 l and 2 l + 1 of `bits` (8 pairs) at places 4 l + first and the next. */
INLINE uint32_t spread_pairs(uint32_t bits, int first) {
#if defined(SIMDROP_AVX512) || defined(SIMDROP_AVX2)
    return _pdep_u32(bits, UINT32_C(0x33333333) << first);
#else
    bits = (bits | bits << 8) & UINT32_C(0x00FF00FF);
    bits = (bits | bits << 4) & UINT32_C(0x0F0F0F0F);
    bits = (bits | bits << 2) & UINT32_C(0x33333333);
    return bits << first;
#endif
}

#endif
