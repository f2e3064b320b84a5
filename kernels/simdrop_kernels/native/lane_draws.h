/* Philox and normal numbers for members in the lanes of a vector: the same words as philox.h, one member a lane.

   64-bit lanes carry 32-bit words; what products leave in the upper halves is masked where a word is used. */
#ifndef SIMDROP_LANE_DRAWS_H
#define SIMDROP_LANE_DRAWS_H

#include "isa.h"
#include "philox.h" /* and coefficients.h, before this */

typedef double f64v __attribute__((vector_size(VBYTES)));
typedef int64_t i64v __attribute__((vector_size(VBYTES)));

/* blocks that are drawn side by side: as many as the registers hold */
#if defined(SIMDROP_AVX512)
#define BLOCKS_AT_ONCE 4
#else
#define BLOCKS_AT_ONCE 2
#endif

/* Where in the generator all lanes draw: the words of the counter but for the members, and the key. */
typedef struct {
    uint32_t stream, sample, step;
    uint64_t seed;
} lane_place;

INLINE u64v word_of(u64v drawn) { return drawn & u64_splat(UINT64_C(0xFFFFFFFF)); }

/* Words 0 to 3 of block first + q at 4 q of `words`, q < count. member: numbers of 64 bits. */
INLINE void lane_blocks(const int count, uint32_t first, const lane_place *at, u64v member, u64v *words) {
    const u64v multiplier_0 = u64_splat(PHILOX_MULTIPLIER_0), multiplier_1 = u64_splat(PHILOX_MULTIPLIER_1);
    u64v c0[BLOCKS_AT_ONCE], c1[BLOCKS_AT_ONCE], c2[BLOCKS_AT_ONCE], c3[BLOCKS_AT_ONCE];
    u64v k0 = u64_splat(at->seed) ^ (member >> 32), k1 = u64_splat(at->seed >> 32);
#pragma GCC unroll 4
    for (int q = 0; q < count; q++) {
        c0[q] = u64_splat(at->stream << 28 | (first + (uint32_t)q));
        c1[q] = u64_splat(at->sample);
        c2[q] = u64_splat(at->step);
        c3[q] = member;
    }
#pragma GCC unroll 10
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
#pragma GCC unroll 4
        for (int q = 0; q < count; q++) {
            const u64v p0 = u64_multiply_low(multiplier_0, c0[q]), p1 = u64_multiply_low(multiplier_1, c2[q]);
            c0[q] = (p1 >> 32) ^ c1[q] ^ k0;
            c1[q] = p1;
            c2[q] = (p0 >> 32) ^ c3[q] ^ k1;
            c3[q] = p0;
        }
        k0 += u64_splat(PHILOX_WEYL_0);
        k1 += u64_splat(PHILOX_WEYL_1);
    }
#pragma GCC unroll 4
    for (int q = 0; q < count; q++) {
        words[4 * q] = c0[q], words[4 * q + 1] = c1[q], words[4 * q + 2] = c2[q], words[4 * q + 3] = c3[q];
    }
}

/* The words of `count` blocks; see `lane_blocks`. */
static __attribute__((unused)) void lane_words(int64_t count, uint32_t first, const lane_place *at, u64v member,
                                               u64v *words) {
    for (; count >= BLOCKS_AT_ONCE; count -= BLOCKS_AT_ONCE, first += BLOCKS_AT_ONCE, words += 4 * BLOCKS_AT_ONCE) {
        lane_blocks(BLOCKS_AT_ONCE, first, at, member, words);
    }
    switch (count) {
    case 1: lane_blocks(1, first, at, member, words); break;
#if defined(SIMDROP_AVX512)
    case 2: lane_blocks(2, first, at, member, words); break;
    case 3: lane_blocks(3, first, at, member, words); break;
#endif
    default: break;
    }
}

INLINE f64v f64_root(f64v v) {
#if defined(__SSE2__)
    return (f64v)MM(sqrt_pd)(v);
#else
    for (int l = 0; l < U64_LANES; l++) v[l] = sqrt(v[l]);
    return v;
#endif
}

/* A whole number below 2^52: 2^52 + k has the bits 0x433... | k. */
INLINE f64v f64_of_whole(u64v k) { return (f64v)(k | u64_splat(UINT64_C(0x4330000000000000))) - 0x1p52; }

INLINE f64v f64_polynomial(const double *coefficients, const int terms, f64v x) {
    f64v sum = x * 0 + coefficients[terms - 1];
#pragma GCC unroll 16
    for (int k = terms - 2; k >= 0; k--) sum = sum * x + coefficients[k];
    return sum;
}

/* Two independent normal numbers of two words (Box & Muller, 1958): `box_muller` of mathematics/rng.py by arithmetic
   alone, in double precision whatever the kernel's. */
INLINE void normal_pair(u64v w0, u64v w1, f64v *z0, f64v *z1) {
    /* 2 atanh s = s (2 + y P(y)), y = s² <= (√2 - 1)⁴ */
    static const double log_p[] = {0.666666666666667,   0.39999999999899505, 0.28571428625975487, 0.2222221113479508,
                                   0.18182889125261723, 0.15331721600556042, 0.14616449685043406};
    const uint64_t root_half = UINT64_C(0x3FE6A09E667F3BCD); /* the bits of √½ */
    const f64v x = f64_of_whole(word_of(w0)) + 0.5;          /* 2^32 u */
    const u64v shifted = (u64v)x + u64_splat(UINT64_C(0x3FF0000000000000) - root_half);
    const f64v exponent = f64_of_whole(shifted >> 52) - 1055; /* u = f 2^exponent, √½ <= f < √2 */
    const f64v f = (f64v)((shifted & u64_splat((UINT64_C(1) << 52) - 1)) + u64_splat(root_half));
    const f64v s = (f - 1) / (f + 1), y = s * s;
    const f64v log_f = s * (2 + y * f64_polynomial(log_p, 7, y));
    const f64v r = f64_root(-2 * (exponent * 0.69314718055994530942 + log_f));
    const u64v turn = word_of(w1), quadrant = (turn + u64_splat(UINT64_C(1) << 29)) >> 30;
    const f64v angle = (f64_of_whole(turn) - f64_of_whole(quadrant << 30)) * 1.4629180792671596e-9; /* 2π 2^-32 */
    const f64v square = angle * angle;
    const f64v sine = r * angle * (1 + square * f64_polynomial(sin_p_f64, 6, square));
    const f64v cosine = r * (1 - 0.5 * square + square * square * f64_polynomial(cos_p_f64, 6, square));
    const u64v odd = -(quadrant & u64_splat(1));
    const u64v first = ((u64v)sine & odd) | ((u64v)cosine & ~odd), second = ((u64v)cosine & odd) | ((u64v)sine & ~odd);
    *z0 = (f64v)(first ^ ((quadrant + u64_splat(1)) & u64_splat(2)) << 62);
    *z1 = (f64v)(second ^ (quadrant & u64_splat(2)) << 62);
}

#endif
