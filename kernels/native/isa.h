/* What differs between instruction sets and not between dtypes: widths and the 64-bit lanes of Philox.

   The instruction set is the one that the compiler was told to build for (-march); everything else is
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

/* Bit l is the sign bit of lane l. */
INLINE uint32_t u64_signs(u64v a) {
#if defined(SIMDROP_AVX512)
    return (uint32_t)_mm512_movepi64_mask((__m512i)a);
#elif defined(SIMDROP_AVX2)
    return (uint32_t)_mm256_movemask_pd((__m256d)a);
#elif defined(SIMDROP_SSE2)
    return (uint32_t)_mm_movemask_pd((__m128d)a);
#else
    uint32_t bits = 0;
    for (int l = 0; l < U64_LANES; l++) bits |= (uint32_t)(a[l] >> 63) << l;
    return bits;
#endif
}

/* Bit l of `bits` (8 of them) at place 4 l + word. */
INLINE uint32_t spread_by_four(uint32_t bits, int word) {
#if defined(SIMDROP_AVX512) || defined(SIMDROP_AVX2)
    return _pdep_u32(bits, UINT32_C(0x11111111) << word);
#else
    bits = (bits | bits << 12) & UINT32_C(0x000F000F);
    bits = (bits | bits << 6) & UINT32_C(0x03030303);
    bits = (bits | bits << 3) & UINT32_C(0x11111111);
    return bits << word;
#endif
}

#endif
