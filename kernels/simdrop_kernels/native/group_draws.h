/* Masks and minibatches of a group of members, per dtype: the words of all members at a counter at once. */

/* The upper halves of the 64-bit lanes in the place of the lower ones; above them anything. */
INLINE u64v N(upper_halves)(u64v v) {
#if defined(SIMDROP_AVX512) /* shifts and products share a port of Intel's, shuffles have another */
    return (u64v)_mm512_shuffle_epi32((__m512i)v, _MM_PERM_DDBB);
#else
    return v >> 32;
#endif
}

/* Word w of `count` blocks for every member: c[q][h][w], the words in the lower halves of 64-bit lanes. Members
   alternate between the vectors of a block, so that even and odd 32-bit lanes join to all members in order. */
INLINE void N(philox_group)(const int count, const N(group) * g, const uint32_t *word0, const uint32_t *sample,
                            const uint32_t *step, u64v c[N(BLOCKS)][N(HALVES)][4]) {
    const u64v multiplier_0 = u64_splat(PHILOX_MULTIPLIER_0), multiplier_1 = u64_splat(PHILOX_MULTIPLIER_1);
#pragma GCC unroll 4
    for (int q = 0; q < count; q++) {
#pragma GCC unroll 2
        for (int h = 0; h < N(HALVES); h++) {
            c[q][h][0] = u64_splat(word0[q]);
            c[q][h][1] = u64_splat(sample[q]);
            c[q][h][2] = u64_splat(step[q]);
            c[q][h][3] = g->member[h];
        }
    }
#pragma GCC unroll 10
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
#pragma GCC unroll 4
        for (int q = 0; q < count; q++) {
#pragma GCC unroll 2
            for (int h = 0; h < N(HALVES); h++) {
                u64v *const w = c[q][h];
                const u64v p0 = u64_multiply_low(multiplier_0, w[0]), p1 = u64_multiply_low(multiplier_1, w[2]);
                w[0] = N(upper_halves)(p1) ^ w[1] ^ g->key0[round][h];
                w[1] = p1;
                w[2] = N(upper_halves)(p0) ^ w[3] ^ u64_splat(g->key1[round]);
                w[3] = p0;
            }
        }
    }
}

/* Which members keep the neuron of word w. */
INLINE N(kept) N(kept_by)(const N(group) * g, u64v c[N(HALVES)][4], int w) {
#if REAL_IS_FLOAT && defined(SIMDROP_AVX512)
    const __m512i words = _mm512_mask_shuffle_epi32((__m512i)c[0][w], 0xAAAA, (__m512i)c[1][w], _MM_PERM_CCAA);
    return _mm512_cmple_epu32_mask(words, (__m512i)g->threshold);
#elif REAL_IS_FLOAT
    const u64v words = (c[0][w] & u64_splat(UINT64_C(0xFFFFFFFF))) | c[1][w] << 32;
    const uint32_t sign = UINT32_C(1) << 31; /* unsigned numbers in the order of signed ones */
    return (ivec)((i32v)((u32v)words ^ sign) <= (i32v)(g->threshold ^ sign));
#elif defined(SIMDROP_AVX512)
    return _mm512_cmple_epu64_mask((__m512i)(c[0][w] & u64_splat(UINT64_C(0xFFFFFFFF))), (__m512i)g->threshold);
#else
    return (ivec)((ivec)(c[0][w] & u64_splat(UINT64_C(0xFFFFFFFF))) <= (ivec)g->threshold);
#endif
}

INLINE void N(draw_blocks)(const int count, N(group) * g, const uint32_t *word0, const uint32_t *sample,
                           const uint32_t *step, N(kept) * kept) {
    u64v c[N(BLOCKS)][N(HALVES)][4];
    N(philox_group)(count, g, word0, sample, step, c);
#pragma GCC unroll 4
    for (int q = 0; q < count; q++) {
#pragma GCC unroll 4
        for (int w = 0; w < 4; w++) kept[4 * q + w] = N(kept_by)(g, c[q], w);
    }
}

/* The masks of all samples of step `first` with sample masks, of steps first, ..., first + steps - 1 else. */
static void N(draw_group_masks)(N(group) * g, int64_t first, int64_t steps) {
    const int64_t all = (g->by_sample ? g->n : steps) * g->blocks;
    const uint32_t stream = (g->by_sample ? STREAM_SAMPLE_MASK : STREAM_STEP_MASK) << 28;
    uint32_t item = 0, block = 0;
    for (int64_t number = 0; number < all; number += N(BLOCKS)) {
        uint32_t word0[N(BLOCKS)], sample[N(BLOCKS)], step[N(BLOCKS)];
#pragma GCC unroll 4
        for (int q = 0; q < N(BLOCKS); q++) {
            word0[q] = stream | block;
            sample[q] = g->by_sample ? item : 0;
            step[q] = (uint32_t)first + (g->by_sample ? 0 : item);
            if (++block == (uint32_t)g->blocks) block = 0, item++;
        }
        N(kept) *kept = g->kept + 4 * number;
        if (all - number >= N(BLOCKS)) N(draw_blocks)(N(BLOCKS), g, word0, sample, step, kept);
        else for (int q = 0; q < all - number; q++) {
            N(draw_blocks)(1, g, word0 + q, sample + q, step + q, kept + 4 * q);
        }
    }
}

/* Masks that drop nothing. */
static void N(keep_all)(N(group) * g) {
    const int64_t count = (g->by_sample ? g->n : GROUP_AHEAD) * 4 * g->blocks;
    memset(g->kept, 0xFF, (size_t)count * sizeof *g->kept);
}

/* Where `position` was written to by one of the first b exchanges of a shuffle, what was written there last; else
   itself. Exchange number a puts held[a] where other[a] says, and at place a what is never looked at again. */
INLINE u64v N(value_at)(const N(group) * g, int64_t b, int h, u64v position) {
    u64v value = position;
    for (int64_t a = 0; a < b; a++) {
        const u64v written = (u64v)(g->other[a * N(HALVES) + h] == position);
        value = (g->held[a * N(HALVES) + h] & written) | (value & ~written);
    }
    return value;
}

/* Sample number b of the minibatches by its words in the lower halves of the lanes: as philox_batch, for all members
   and without an array of all samples, in a time that grows with b. */
INLINE u64v N(chosen_by)(const simdrop_task *t, N(group) * g, int64_t b, int h, u64v word) {
    const uint64_t left = (uint64_t)(t->replace ? t->samples : t->samples - b);
    const u64v drawn = u64_multiply_low(word, u64_splat(left)) >> 32;
    if (t->replace) return drawn;
    const u64v position = drawn + (uint64_t)b;
    g->other[b * N(HALVES) + h] = position;
    g->held[b * N(HALVES) + h] = N(value_at)(g, b, h, u64_splat((uint64_t)b));
    return N(value_at)(g, b, h, position);
}

/* Sample number b of every member's minibatch into its lane. */
static void N(take_lanes)(const simdrop_task *t, N(group) * g, int64_t b, const u64v chosen[N(HALVES)]) {
    const int64_t D = g->inputs, c = g->outputs;
    uint64_t from[VL];
    memcpy(from, chosen, sizeof from);
    for (int l = 0; l < VL; l++) {
        const int64_t number = (int64_t)from[l % N(HALVES) * U64_LANES + l / N(HALVES)];
        const REAL *x = (const REAL *)t->x + number * D, *y = (const REAL *)t->y + number * c;
        for (int64_t k = 0; k < D; k++) g->x_lanes[(b * D + k) * VL + l] = x[k];
        for (int64_t o = 0; o < c; o++) g->y_lanes[(b * c + o) * VL + l] = y[o];
    }
}

/* The minibatches of a step, every member's in its lane. */
static void N(take_batches)(const simdrop_task *t, N(group) * g, int64_t number) {
    const uint32_t step = (uint32_t)number, sample = 0;
    for (int64_t first = 0; first < g->n; first += 4) {
        const uint32_t word0 = STREAM_BATCH << 28 | (uint32_t)(first / 4);
        u64v c[N(BLOCKS)][N(HALVES)][4], chosen[N(HALVES)];
        N(philox_group)(1, g, &word0, &sample, &step, c);
        for (int w = 0; w < 4 && first + w < g->n; w++) {
            for (int h = 0; h < N(HALVES); h++) chosen[h] = N(chosen_by)(t, g, first + w, h, c[0][h][w]);
            N(take_lanes)(t, g, first + w, chosen);
        }
    }
}
