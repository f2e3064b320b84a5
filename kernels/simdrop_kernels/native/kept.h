/* The kept neurons of a step side by side, and what was computed of them back in their places, per dtype.

   `start`: how many neurons are kept before those of a vector. AVX-512 permutes whole vectors and stores them where
   vectors are loaded, for a load that overlaps two stores just made has to wait for both. The other instruction
   sets go by the numbers of the kept neurons in `index`. */

#if defined(SIMDROP_AVX512)
#if REAL_IS_FLOAT
INLINE vec N(lanes_from)(vec v, ivec index) { return (vec)_mm512_permutexvar_ps((__m512i)index, v); }
INLINE vec N(lanes_from_two)(vec v, ivec index, vec w) { return (vec)_mm512_permutex2var_ps(v, (__m512i)index, w); }
INLINE ivec N(compress)(N(bitmask) bits, ivec v) { return (ivec)_mm512_maskz_compress_epi32(bits, (__m512i)v); }
INLINE ivec N(expand)(N(bitmask) bits, ivec v) { return (ivec)_mm512_maskz_expand_epi32(bits, (__m512i)v); }
#else
INLINE vec N(lanes_from)(vec v, ivec index) { return (vec)_mm512_permutexvar_pd((__m512i)index, v); }
INLINE vec N(lanes_from_two)(vec v, ivec index, vec w) { return (vec)_mm512_permutex2var_pd(v, (__m512i)index, w); }
INLINE ivec N(compress)(N(bitmask) bits, ivec v) { return (ivec)_mm512_maskz_compress_epi64(bits, (__m512i)v); }
INLINE ivec N(expand)(N(bitmask) bits, ivec v) { return (ivec)_mm512_maskz_expand_epi64(bits, (__m512i)v); }
#endif
INLINE vec N(blend)(N(bitmask) bits, vec where, vec elsewhere) { return (vec)MMR(mask_mov)(elsewhere, bits, where); }

INLINE ivec N(lane_numbers)(void) {
    ivec lane;
    for (int l = 0; l < VL; l++) lane[l] = l;
    return lane;
}

/* Which lane goes where: the kept ones to the lanes from start % VL on, round the end of the vector. */
INLINE ivec N(gather_index)(N(bitmask) bits, int64_t start) {
    return (ivec)N(lanes_from)((vec)N(compress)(bits, N(lane_numbers)()), N(lane_numbers)() - (LANE_INT)start);
}

/* The inverse: where in the two vectors from start / VL on each kept lane is. */
INLINE ivec N(scatter_index)(N(bitmask) bits, int64_t start) {
    return N(expand)(bits, N(lane_numbers)() + (LANE_INT)(start % VL));
}

/* `count` rows from number r. */
INLINE void N(pack_rows)(const int count, const N(space) * s, int64_t r, int64_t vectors) {
    const REAL *from = s->theta + r * s->row;
    REAL *to = s->packed + r * s->row;
    const N(bitmask) all = (N(bitmask))-1;
    vec open[4]; /* the vector being filled */
    int64_t start = 0;
#pragma GCC unroll 4
    for (int q = 0; q < count; q++) open[q] = N(splat)(0);
    for (int64_t v = 0; v < vectors; v++) {
        const N(bitmask) bits = (N(bitmask))N(bits_of)(s->bits, v);
        const ivec gather = N(gather_index)(bits, start);
        const int64_t end = start + __builtin_popcount(bits);
        const N(bitmask) fresh = (N(bitmask))(all << start % VL), filled = start / VL < end / VL ? all : 0;
#pragma GCC unroll 4
        for (int q = 0; q < count; q++) {
            const vec p = N(load)(from + q * s->row + v * VL), moved = N(lanes_from)(p, gather);
            open[q] = N(blend)(fresh, moved, open[q]);
            N(store)(to + q * s->row + start / VL * VL, open[q]);
            open[q] = N(blend)(filled, moved, open[q]);
        }
        start = end;
    }
    const uint32_t rest = (UINT32_C(1) << start % VL) - 1;
#pragma GCC unroll 4
    for (int q = 0; q < count; q++) {
        N(store)(to + q * s->row + start / VL * VL, N(keep_lanes)(rest, open[q]));
    }
}
#endif

/* theta's kept neurons, side by side, filled up with zeros. */
static void N(pack_kept)(N(space) * s, int64_t kept) {
    int64_t r = 0;
#if defined(SIMDROP_AVX512)
    const int64_t vectors = N(round_up)(s->width, VL) / VL;
    (void)kept;
    for (; r + 3 <= s->rows; r += 3) N(pack_rows)(3, s, r, vectors);
    for (; r < s->rows; r++) N(pack_rows)(1, s, r, vectors);
#else
    int32_t count = 0;
    for (int64_t j = 0; j < s->words; j++) {
        for (uint32_t word = s->bits[j]; word; word &= word - 1) {
            s->index[count++] = (int32_t)(32 * j) + __builtin_ctz(word);
        }
    }
    for (; r < s->rows; r++) {
        const REAL *from = s->theta + r * s->row;
        REAL *to = s->packed + r * s->row;
        for (int64_t q = 0; q < kept; q++) to[q] = from[s->index[q]];
        for (int64_t q = kept; q < N(round_up)(kept, VL); q++) to[q] = 0;
    }
#endif
}

#if defined(SIMDROP_AVX512)
/* theta -= lr g for `count` rows from number r. */
INLINE void N(descend_rows)(const int count, const N(space) * s, int64_t r, REAL lr) {
    int64_t start = 0;
    for (int64_t v = 0; v * VL < s->width; v++) {
        const N(bitmask) bits = (N(bitmask))N(bits_of)(s->bits, v);
        const ivec scatter = N(scatter_index)(bits, start);
        const REAL *grad = s->grad + r * s->row + start / VL * VL;
        REAL *theta = s->theta + r * s->row + v * VL;
#pragma GCC unroll 4
        for (int q = 0; q < count; q++, grad += s->row, theta += s->row) {
            const vec g = N(lanes_from_two)(N(load)(grad), scatter, N(load)(grad + VL));
            N(store)(theta, (vec)MMR(mask3_fnmadd)(g, N(splat)(lr), N(load)(theta), bits));
        }
        start += __builtin_popcount(bits);
    }
}
#endif

/* theta -= lr g where grad holds the kept neurons. */
static void N(descend_kept)(N(space) * s, REAL lr) {
    int64_t r = 0;
#if defined(SIMDROP_AVX512)
    for (; r + 3 <= s->rows; r += 3) N(descend_rows)(3, s, r, lr);
    for (; r < s->rows; r++) N(descend_rows)(1, s, r, lr);
#else
    for (; r < s->rows; r++) {
        REAL *theta = s->theta + r * s->row;
        const REAL *grad = s->grad + r * s->row;
        int64_t q = 0;
        for (int64_t j = 0; j < s->words; j++) {
            for (uint32_t word = s->bits[j]; word; word &= word - 1, q++) theta[s->index[q]] -= lr * grad[q];
        }
    }
#endif
}

/* The gradient of all neurons in rows of full width, where grad holds the kept ones: zeros for the others. */
static REAL *N(spread_gradient)(N(space) * s) {
    for (int64_t r = 0; r < s->rows; r++) {
        const REAL *grad = s->grad + r * s->row;
        REAL *spread = s->spread + r * s->row;
        int64_t q = 0;
        for (int64_t v = 0; v * VL < s->width; v++) {
            const uint32_t bits = N(bits_of)(s->bits, v);
#if defined(SIMDROP_AVX512)
            const REAL *from = grad + q / VL * VL;
            const ivec scatter = N(scatter_index)((N(bitmask))bits, q);
            const vec g = N(lanes_from_two)(N(load)(from), scatter, N(load)(from + VL));
            N(store)(spread + v * VL, N(keep_lanes)(bits, g));
            q += __builtin_popcount(bits);
#else
            for (int l = 0; l < VL; l++) spread[v * VL + l] = bits >> l & 1 ? grad[q++] : 0;
#endif
        }
    }
    return s->spread;
}
