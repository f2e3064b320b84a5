/* One dtype's vectors: included once per dtype, after `REAL_IS_FLOAT` is set to 1 or 0.

   N(name) gives a name its dtype's suffix; VL is the number of lanes. Minimum and maximum hand on the
   second operand where either is NaN, as x86 does, so that a NaN written second survives. */

#undef REAL
#undef N
#undef VL
#undef MMR
#undef LANE_INT

#if REAL_IS_FLOAT
#define REAL float
#define LANE_INT int32_t
#define N(name) name##_f32
#define MMR_(op, type) MM(op##_##type)
#define MMR(op) MMR_(op, ps)
#define VL (VBYTES / 4)
#else
#define REAL double
#define LANE_INT int64_t
#define N(name) name##_f64
#define MMR_(op, type) MM(op##_##type)
#define MMR(op) MMR_(op, pd)
#define VL (VBYTES / 8)
#endif

typedef REAL N(vec) __attribute__((vector_size(VBYTES)));
typedef LANE_INT N(ivec) __attribute__((vector_size(VBYTES)));
/* for rows whose addresses are multiples of the element alone */
typedef REAL N(loose_vec) __attribute__((vector_size(VBYTES), aligned(sizeof(REAL)), may_alias));
#if defined(SIMDROP_AVX512) && REAL_IS_FLOAT
typedef __mmask16 N(bitmask);
#elif defined(SIMDROP_AVX512)
typedef __mmask8 N(bitmask);
#endif
#define vec N(vec)
#define ivec N(ivec)

INLINE vec N(splat)(REAL value) { return value - (vec){0}; }
INLINE vec N(load)(const REAL *from) { return *(const vec *)(const void *)from; }
INLINE void N(store)(REAL *to, vec v) { *(vec *)(void *)to = v; }
INLINE vec N(load_loose)(const REAL *from) { return (vec) * (const N(loose_vec) *)(const void *)from; }
INLINE void N(store_loose)(REAL *to, vec v) { *(N(loose_vec) *)(void *)to = (N(loose_vec))v; }

/* where `mask` (all bits or none per lane): a, else b */
INLINE vec N(select)(ivec mask, vec a, vec b) { return (vec)(((ivec)a & mask) | ((ivec)b & ~mask)); }
INLINE vec N(magnitude)(vec v) { return (vec)((ivec)v & ~(ivec)N(splat)((REAL)-0.0)); }
INLINE vec N(with_sign)(vec size, vec sign) { return (vec)((ivec)size | ((ivec)sign & (ivec)N(splat)((REAL)-0.0))); }

INLINE vec N(least)(vec bound, vec v) {
#if defined(__SSE2__)
    return (vec)MMR(min)(bound, v);
#else
    return N(select)((ivec)(bound < v), bound, v);
#endif
}

INLINE vec N(most)(vec bound, vec v) {
#if defined(__SSE2__)
    return (vec)MMR(max)(bound, v);
#else
    return N(select)((ivec)(bound > v), bound, v);
#endif
}

/* The square root of each lane. */
INLINE vec N(root)(vec v) {
#if defined(__SSE2__)
    return (vec)MMR(sqrt)(v);
#else
    for (int l = 0; l < VL; l++) v[l] = (REAL)sqrt((double)v[l]);
    return v;
#endif
}

/* Polynomial of `terms` coefficients, from the constant term up, by Horner's rule. */
INLINE vec N(polynomial)(const REAL *coefficients, int terms, vec x) {
    vec sum = N(splat)(coefficients[terms - 1]);
#pragma GCC unroll 32
    for (int k = terms - 2; k >= 0; k--) sum = sum * x + coefficients[k];
    return sum;
}
#define POLYNOMIAL(name, x) N(polynomial)(N(name), (int)(sizeof N(name) / sizeof N(name)[0]), x)

/* Lanes whose bit in `bits` is set: all bits of the lane. */
INLINE ivec N(lanes_of)(uint32_t bits) {
#if defined(SIMDROP_AVX512) && REAL_IS_FLOAT
    return (ivec)_mm512_movm_epi32((__mmask16)bits);
#elif defined(SIMDROP_AVX512)
    return (ivec)_mm512_movm_epi64((__mmask8)bits);
#else
    ivec bit;
    for (int l = 0; l < VL; l++) bit[l] = (LANE_INT)1 << l;
    return (ivec)(((((ivec){0} + (LANE_INT)bits)) & bit) == bit);
#endif
}

/* v in the lanes of `bits`, 0 elsewhere. */
INLINE vec N(keep_lanes)(uint32_t bits, vec v) {
#if defined(SIMDROP_AVX512)
    return (vec)MMR(maskz_mov)((N(bitmask))bits, v);
#else
    return (vec)((ivec)v & N(lanes_of)(bits));
#endif
}

/* v in the lanes of `bits`, 0 v elsewhere: not 0 where v is not finite. */
INLINE vec N(drop_lanes)(uint32_t bits, vec v) {
#if defined(SIMDROP_AVX512)
    return (vec)MMR(mask_mul)(v, (N(bitmask))~bits, v, N(splat)(0));
#else
    return v * N(keep_lanes)(bits, N(splat)(1));
#endif
}

/* table[index % 16] of each lane. */
INLINE vec N(lookup)(const REAL *table, ivec index) {
#if defined(SIMDROP_AVX512) && REAL_IS_FLOAT
    return (vec)_mm512_permutexvar_ps((__m512i)index, N(load_loose)(table));
#elif defined(SIMDROP_AVX512)
    return (vec)_mm512_permutex2var_pd(N(load_loose)(table), (__m512i)index, N(load_loose)(table + 8));
#elif defined(SIMDROP_AVX2) && REAL_IS_FLOAT
    const vec low = (vec)_mm256_permutevar8x32_ps(N(load_loose)(table), (__m256i)index);
    const vec high = (vec)_mm256_permutevar8x32_ps(N(load_loose)(table + 8), (__m256i)index);
    return (vec)_mm256_blendv_ps(low, high, (__m256)(index << 28)); /* bit 3 to the sign */
#else
    vec found;
    for (int l = 0; l < VL; l++) found[l] = table[index[l] & 15];
    return found;
#endif
}

/* The VL bits of the neurons of vector number v. */
INLINE uint32_t N(bits_of)(const uint32_t *bits, int64_t v) {
    const int64_t bit = v * VL;
    return bits[bit / 32] >> (bit % 32) & (uint32_t)((UINT64_C(1) << VL) - 1);
}

/* Whether any lane is below 0. */
INLINE int N(any_negative)(ivec v) {
#if defined(SIMDROP_AVX512) && REAL_IS_FLOAT
    return _mm512_movepi32_mask((__m512i)v) != 0;
#elif defined(SIMDROP_AVX512)
    return _mm512_movepi64_mask((__m512i)v) != 0;
#else
    int found = 0;
    for (int l = 0; l < VL; l++) found |= v[l] < 0;
    return found;
#endif
}

/* The sum of the lanes. */
INLINE REAL N(sum_of_lanes)(vec v) {
#if defined(SIMDROP_AVX512)
    return MMR(reduce_add)(v);
#else
    REAL part[VL];
    N(store_loose)(part, v);
    for (int half = VL / 2; half > 0; half /= 2) {
        for (int l = 0; l < half; l++) part[l] += part[l + half];
    }
    return part[0];
#endif
}

/* Of the lanes of a and then of b, those at `first`, first + 2, .... */
INLINE vec N(every_second)(vec a, vec b, int first) {
#if defined(__clang__) /* has no shuffle by a vector, and makes one of this loop */
    vec found;
#pragma GCC unroll 8
    for (int l = 0; l < VL; l++) found[l] = l < VL / 2 ? a[2 * l + first] : b[2 * l + first - VL];
    return found;
#else
    ivec lanes;
#pragma GCC unroll 8
    for (int l = 0; l < VL; l++) lanes[l] = 2 * l + first;
    return __builtin_shuffle(a, b, lanes);
#endif
}

/* Lane i of the result: the sum of the lanes of rows[i], i < VL. Each round adds the two halves of vectors,
   two by two, and so halves their number. */
INLINE vec N(sums_of_rows)(const REAL *rows) {
    vec level[VL];
    int count = VL;
#pragma GCC unroll 16
    for (int l = 0; l < VL; l++) level[l] = N(load)(rows + l * VL);
#if defined(SIMDROP_AVX512) /* within 128-bit blocks first, where shuffles are cheap */
#define ROUND(left, right)                                                                               \
    count /= 2;                                                                                          \
    _Pragma("GCC unroll 8") for (int i = 0; i < count; i++) {                                            \
        const vec a = level[2 * i], b = level[2 * i + 1];                                                \
        level[i] = (vec)(left) + (vec)(right);                                                           \
    }
    ROUND(MMR(unpacklo)(a, b), MMR(unpackhi)(a, b))
#if REAL_IS_FLOAT
    ROUND(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xEE))
    ROUND(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE))
    ROUND(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD))
#else
    ROUND(_mm512_shuffle_f64x2(a, b, 0x44), _mm512_shuffle_f64x2(a, b, 0xEE))
    ROUND(_mm512_shuffle_f64x2(a, b, 0x88), _mm512_shuffle_f64x2(a, b, 0xDD))
#endif
#undef ROUND
#else
#pragma GCC unroll 4
    for (; count > 1; count /= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < count / 2; i++) {
            const vec a = level[2 * i], b = level[2 * i + 1];
            level[i] = N(every_second)(a, b, 0) + N(every_second)(a, b, 1);
        }
    }
#endif
    return level[0];
}
