/* Masks and minibatches of a group of members, per dtype: the words of all members at a counter at once. */

/* The upper halves of the 64-bit lanes in the place of the lower ones; above them anything. */
INLINE u64v N(upper_halves)(u64v v) {
#if defined(SIMDROP_AVX512) /* shifts and products share a port of Intel's, shuffles have another */
    return (u64v)_mm512_shuffle_epi32((__m512i)v, _MM_PERM_DDBB);
#else
    return v >> 32;
#endif
}

/* Philox's rounds from number `first` on, of `count` blocks for every member: c[q][h] are the words, in the lower halves
   of 64-bit lanes. Members alternate between the vectors of a block, so that even and odd 32-bit lanes join to all
   members in order. */
INLINE void N(philox_rounds)(const int count, const int first, const int end, const N(group) * g,
                             u64v (*c)[N(HALVES)][4]) {
    const u64v multiplier_0 = u64_splat(PHILOX_MULTIPLIER_0), multiplier_1 = u64_splat(PHILOX_MULTIPLIER_1);
#pragma GCC unroll 10
    for (int round = first; round < end; round++) {
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

/* The words of one block of sample 0 for every member. */
INLINE void N(philox_group)(const N(group) * g, uint32_t word0, uint32_t step, u64v (*c)[N(HALVES)][4]) {
#pragma GCC unroll 2
    for (int h = 0; h < N(HALVES); h++) {
        c[0][h][0] = u64_splat(word0);
        c[0][h][1] = u64_splat(0);
        c[0][h][2] = u64_splat(step);
        c[0][h][3] = g->member[h];
    }
    N(philox_rounds)(1, 0, PHILOX_ROUNDS, g, c);
}

#if REAL_IS_FLOAT
/* The lower halves of the 64-bit lanes of a and b, in turn. */
INLINE u64v N(join_lower)(u64v a, u64v b) {
#if defined(SIMDROP_AVX512)
    return (u64v)_mm512_mask_shuffle_epi32((__m512i)a, 0xAAAA, (__m512i)b, _MM_PERM_CCAA);
#else
    return (a & u64_splat(UINT64_C(0xFFFFFFFF))) | b << 32;
#endif
}

/* The upper halves of the 64-bit lanes of a and b, in turn. */
INLINE u64v N(join_upper)(u64v a, u64v b) {
#if defined(SIMDROP_AVX512)
    return (u64v)_mm512_mask_shuffle_epi32((__m512i)b, 0x5555, (__m512i)a, _MM_PERM_DDBB);
#else
    return a >> 32 | (b & u64_splat(UINT64_C(0xFFFFFFFF) << 32));
#endif
}
#endif

/* Notes which members keep the neuron whose words these are, of all members in order. */
INLINE void N(note_kept)(const N(group) * g, u64v words, N(kept) * kept) {
#if REAL_IS_FLOAT && defined(SIMDROP_AVX512) /* volatile, lest a compiler joins several first, which is slower */
    *(volatile N(kept) *)kept = _mm512_cmple_epu32_mask((__m512i)words, (__m512i)g->threshold);
#elif REAL_IS_FLOAT
    const uint32_t sign = UINT32_C(1) << 31; /* unsigned numbers in the order of signed ones */
    *kept = (ivec)((i32v)((u32v)words ^ sign) <= (i32v)(g->threshold ^ sign));
#elif defined(SIMDROP_AVX512)
    *kept = _mm512_cmple_epu64_mask((__m512i)(words & u64_splat(UINT64_C(0xFFFFFFFF))), (__m512i)g->threshold);
#else
    *kept = (ivec)((ivec)(words & u64_splat(UINT64_C(0xFFFFFFFF))) <= (ivec)g->threshold);
#endif
}

/* The last of Philox's rounds and which members keep the neurons of the block's four words. In float32 the vectors are
   joined before the round's sums, and half of these and of the exchanges of halves are saved. */
INLINE void N(last_round)(const N(group) * g, u64v c[N(HALVES)][4], N(kept) * kept) {
#if REAL_IS_FLOAT
    const u64v multiplier_0 = u64_splat(PHILOX_MULTIPLIER_0), multiplier_1 = u64_splat(PHILOX_MULTIPLIER_1);
    const u64v key1 = u64_splat(g->key1[PHILOX_ROUNDS - 1] * (UINT64_C(1) << 32 | 1));
    u64v p0[2], p1[2];
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        p0[h] = u64_multiply_low(multiplier_0, c[h][0]);
        p1[h] = u64_multiply_low(multiplier_1, c[h][2]);
    }
    N(note_kept)(g, N(join_upper)(p1[0], p1[1]) ^ N(join_lower)(c[0][1], c[1][1]) ^ g->last_key0, kept);
    N(note_kept)(g, N(join_lower)(p1[0], p1[1]), kept + 1);
    N(note_kept)(g, N(join_upper)(p0[0], p0[1]) ^ N(join_lower)(c[0][3], c[1][3]) ^ key1, kept + 2);
    N(note_kept)(g, N(join_lower)(p0[0], p0[1]), kept + 3);
#else
    N(philox_rounds)(1, PHILOX_ROUNDS - 1, PHILOX_ROUNDS, g, (u64v(*)[1][4])c);
#pragma GCC unroll 4
    for (int w = 0; w < 4; w++) N(note_kept)(g, c[0][w], kept + w);
#endif
}

/* The masks of `count` blocks. With `alike`, members draw by the same key and their counters differ in one word: what
   that meets in the first three rounds is mostly a number that all members share, which `place_masks` has found, and
   `early` has what the word becomes by a block alone. */
INLINE void N(draw_blocks)(const int count, const int alike, const N(group) * g, const N(mask_place) * at,
                           N(kept) * kept) {
    const u64v multiplier_0 = u64_splat(PHILOX_MULTIPLIER_0);
    u64v c[N(BLOCKS)][N(HALVES)][4];
#pragma GCC unroll 4
    for (int q = 0; q < count; q++) {
#pragma GCC unroll 2
        for (int h = 0; h < N(HALVES); h++) {
            const u64v *early = g->early + (at[q].block * N(HALVES) + h) * 2;
            const u64v p0 = u64_multiply_low(multiplier_0, early[0] ^ u64_splat(at[q].first));
            c[q][h][0] = alike ? early[1] ^ u64_splat(at[q].second) : u64_splat(at[q].first);
            c[q][h][1] = alike ? u64_splat(at[q].third) : u64_splat(at[q].second);
            c[q][h][2] = alike ? N(upper_halves)(p0) ^ u64_splat(at[q].fourth) : u64_splat(at[q].third);
            c[q][h][3] = alike ? p0 : g->member[h];
        }
    }
    if (!alike) N(philox_rounds)(count, 0, 3, g, c);
    N(philox_rounds)(count, 3, PHILOX_ROUNDS - 1, g, c);
#pragma GCC unroll 4
    for (int q = 0; q < count; q++) N(last_round)(g, c[q], kept + 4 * q);
}

/* Word 0 of the counter of a mask's block. */
INLINE uint32_t N(mask_word0)(const N(group) * g, int64_t block) {
    return (g->by_sample ? STREAM_SAMPLE_MASK : STREAM_STEP_MASK) << 28 | (uint32_t)block;
}

/* What masks need once for a group: the key of the last round as its sums take it, and what the first two rounds make
   of the members' word in each block, whatever the step and the sample. */
static void N(prepare_masks)(N(group) * g) {
#if REAL_IS_FLOAT
    g->last_key0 = N(join_lower)(g->key0[PHILOX_ROUNDS - 1][0], g->key0[PHILOX_ROUNDS - 1][1]);
#endif
    for (int64_t block = 0; block < g->blocks; block++) {
        const uint64_t p0 = (uint64_t)PHILOX_MULTIPLIER_0 * N(mask_word0)(g, block);
        for (int h = 0; h < N(HALVES); h++) {
            u64v *const early = g->early + (block * N(HALVES) + h) * 2;
            const u64v word2 = g->member[h] ^ u64_splat((p0 >> 32) ^ g->key1[0]);
            early[1] = u64_multiply_low(u64_splat(PHILOX_MULTIPLIER_1), word2);
            early[0] = N(upper_halves)(early[1]);
        }
    }
}

/* What all members share of the first three rounds of a block, or its counter where they draw by several keys. */
INLINE N(mask_place) N(place_mask)(const N(group) * g, int64_t block, uint32_t sample, uint32_t step) {
    const uint32_t word0 = N(mask_word0)(g, block), word3 = PHILOX_MULTIPLIER_0 * word0;
    if (!g->alike) return (N(mask_place)){block, word0, sample, step, 0};
    const uint32_t key0[3] = {(uint32_t)g->key0[0][0][0], (uint32_t)g->key0[1][0][0], (uint32_t)g->key0[2][0][0]};
    const uint64_t p1 = (uint64_t)PHILOX_MULTIPLIER_1 * step;
    const uint64_t p0 = (uint64_t)PHILOX_MULTIPLIER_0 * (uint32_t)((p1 >> 32) ^ sample ^ key0[0]);
    const uint64_t p = (uint64_t)PHILOX_MULTIPLIER_1 * (uint32_t)((p0 >> 32) ^ word3 ^ g->key1[1]);
    return (N(mask_place)){block, (uint32_t)p1 ^ key0[1], p >> 32 ^ key0[2], (uint32_t)p, (uint32_t)p0 ^ g->key1[2]};
}

/* The masks of all samples of step `first` with sample masks, of steps first, ..., first + steps - 1 else. */
static void N(draw_group_masks)(N(group) * g, int64_t first, int64_t steps) {
    const int64_t items = g->by_sample ? g->n : steps, all = items * g->blocks;
    N(mask_place) *at = g->places;
    for (int64_t item = 0; item < items; item++) {
        const uint32_t step = (uint32_t)(first + (g->by_sample ? 0 : item)), sample = g->by_sample ? (uint32_t)item : 0;
        for (int64_t block = 0; block < g->blocks; block++) *at++ = N(place_mask)(g, block, sample, step);
    }
    int64_t q = 0;
#define DRAW(count, alike) N(draw_blocks)(count, alike, g, g->places + q, g->kept + 4 * q)
    for (; g->alike && q + N(BLOCKS) <= all; q += N(BLOCKS)) DRAW(N(BLOCKS), 1);
    for (; g->alike && q < all; q++) DRAW(1, 1);
    for (; q + N(BLOCKS) <= all; q += N(BLOCKS)) DRAW(N(BLOCKS), 0);
    for (; q < all; q++) DRAW(1, 0);
#undef DRAW
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
    for (int64_t first = 0; first < g->n; first += 4) {
        u64v c[N(BLOCKS)][N(HALVES)][4], chosen[N(HALVES)];
        N(philox_group)(g, STREAM_BATCH << 28 | (uint32_t)(first / 4), (uint32_t)number, c);
        for (int w = 0; w < 4 && first + w < g->n; w++) {
            for (int h = 0; h < N(HALVES); h++) chosen[h] = N(chosen_by)(t, g, first + w, h, c[0][h][w]);
            N(take_lanes)(t, g, first + w, chosen);
        }
    }
}
