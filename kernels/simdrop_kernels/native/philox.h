/* Philox4x32-10, the masks and minibatches drawn from it. The layout of counters is that of kernels/rng.py. */
#ifndef SIMDROP_PHILOX_H
#define SIMDROP_PHILOX_H

#include "isa.h"
#include "task.h"

#define STREAM_STEP_MASK UINT32_C(0)
#define STREAM_SAMPLE_MASK UINT32_C(1)
#define STREAM_BATCH UINT32_C(2)
#define STREAM_STEP_FORWARD UINT32_C(9) /* where the forward pass has masks of its own */

#define PHILOX_ROUNDS 10
#define PHILOX_MULTIPLIER_0 UINT32_C(0xD2511F53)
#define PHILOX_MULTIPLIER_1 UINT32_C(0xCD9E8D57)
#define PHILOX_WEYL_0 UINT32_C(0x9E3779B9)
#define PHILOX_WEYL_1 UINT32_C(0xBB67AE85)

/* words of masks drawn side by side: as many as the registers hold */
#if defined(SIMDROP_AVX512)
#define WORDS_AT_ONCE 4
#else
#define WORDS_AT_ONCE 2
#endif

/* Words 2, 3 of the counter, and the keys of all rounds, as 64-bit lanes take them. */
typedef struct {
    uint32_t step, member;
    uint64_t key[PHILOX_ROUNDS][2];
} philox_place;

INLINE philox_place philox_at(uint64_t seed, uint64_t member) {
    philox_place at;
    uint32_t k0 = (uint32_t)seed ^ (uint32_t)(member >> 32), k1 = (uint32_t)(seed >> 32);
    at.step = 0;
    at.member = (uint32_t)member;
    for (int round = 0; round < PHILOX_ROUNDS; round++, k0 += PHILOX_WEYL_0, k1 += PHILOX_WEYL_1) {
        at.key[round][0] = k0;
        at.key[round][1] = k1;
    }
    return at;
}

/* The four words of one block, for sample 0. */
INLINE void philox_block(const philox_place *at, uint32_t word0, uint32_t out[4]) {
    uint32_t c0 = word0, c1 = 0, c2 = at->step, c3 = at->member;
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        const uint64_t p0 = (uint64_t)PHILOX_MULTIPLIER_0 * c0, p1 = (uint64_t)PHILOX_MULTIPLIER_1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ (uint32_t)at->key[round][0];
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ (uint32_t)at->key[round][1];
        c3 = (uint32_t)p0;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* `count` words of 32 neurons each, the word[q]-th of the mask of sample[q], interleaved because the rounds of
   one wait for each other. A bit is 1 where a neuron is kept.

   64-bit lanes carry 32-bit words; what the products leave in the upper halves is never read, for
   multiplications take the lower halves alone. */
INLINE void philox_words(const int count, const philox_place *at, uint32_t stream, const uint32_t *sample,
                         const uint32_t *word, uint32_t threshold, uint32_t *bits) {
    enum { PARTS = 8 / U64_LANES }; /* a word takes 8 blocks */
    const u64v multiplier_0 = u64_splat(PHILOX_MULTIPLIER_0), multiplier_1 = u64_splat(PHILOX_MULTIPLIER_1);
    enum { CHAINS = WORDS_AT_ONCE * PARTS };
    u64v lane, c0[CHAINS], c1[CHAINS], c2[CHAINS], c3[CHAINS];
    for (int l = 0; l < U64_LANES; l++) lane[l] = (uint64_t)l;
    const int chains = count * PARTS;
#pragma GCC unroll 16
    for (int q = 0; q < chains; q++) {
        const uint32_t block = 8 * word[q / PARTS] + (uint32_t)(q % PARTS * U64_LANES);
        c0[q] = lane + (uint64_t)(stream << 28 | block);
        c1[q] = u64_splat(sample[q / PARTS]);
        c2[q] = u64_splat(at->step);
        c3[q] = u64_splat(at->member);
    }
#pragma GCC unroll 10
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
#pragma GCC unroll 16
        for (int q = 0; q < chains; q++) {
            const u64v p0 = u64_multiply_low(multiplier_0, c0[q]), p1 = u64_multiply_low(multiplier_1, c2[q]);
            c0[q] = (p1 >> 32) ^ c1[q] ^ u64_splat(at->key[round][0]);
            c1[q] = p1;
            c2[q] = (p0 >> 32) ^ c3[q] ^ u64_splat(at->key[round][1]);
            c3[q] = p0;
        }
    }
#pragma GCC unroll 4
    for (int w = 0; w < count; w++) {
        uint32_t dropped[2] = {0, 0};
#pragma GCC unroll 4
        for (int q = w * PARTS; q < (w + 1) * PARTS; q++) {
            const int place = 2 * (q % PARTS) * U64_LANES;
            dropped[0] |= u64_above(c0[q], c1[q], threshold) << place;
            dropped[1] |= u64_above(c2[q], c3[q], threshold) << place;
        }
        bits[w] = ~(spread_pairs(dropped[0], 0) | spread_pairs(dropped[1], 2));
    }
}

/* The masks of `samples` samples as bits of 32-bit words, bits past the width 0. Returns how many are kept. */
static int64_t philox_masks(const philox_place *at, uint32_t stream, int64_t samples, int64_t width,
                            uint32_t threshold, uint32_t *bits) {
    const uint32_t words = (uint32_t)((width + 31) / 32);
    const int64_t all = samples * words;
    uint32_t next_sample = 0, next_word = 0;
    int64_t kept = 0;
    for (int64_t number = 0; number < all; number += WORDS_AT_ONCE) {
        uint32_t sample[WORDS_AT_ONCE], word[WORDS_AT_ONCE];
#pragma GCC unroll 4
        for (int q = 0; q < WORDS_AT_ONCE; q++) {
            sample[q] = next_sample;
            word[q] = next_word++;
            if (next_word == words) next_word = 0, next_sample++;
        }
        switch (all - number) {
        case 1: philox_words(1, at, stream, sample, word, threshold, bits + number); break;
#if defined(SIMDROP_AVX512)
        case 2: philox_words(2, at, stream, sample, word, threshold, bits + number); break;
        case 3: philox_words(3, at, stream, sample, word, threshold, bits + number); break;
#endif
        default: philox_words(WORDS_AT_ONCE, at, stream, sample, word, threshold, bits + number);
        }
    }
    if (width % 32) {
        for (int64_t i = 1; i <= samples; i++) bits[i * words - 1] &= (UINT32_C(1) << (width % 32)) - 1;
    }
    for (int64_t q = 0; q < all; q++) kept += __builtin_popcount(bits[q]);
    return kept;
}

/* The sample numbers of a minibatch by its words, one for each. Without replacement `order` must hold 0, ...,
   samples - 1; the first `count` exchanges of a Fisher-Yates shuffle are made in it, noted in `swapped`, and undone. */
INLINE void batch_of_words(const uint32_t *words, int64_t samples, int64_t count, int replace, int64_t *order,
                           int64_t *swapped, int64_t *chosen) {
    if (replace) {
        for (int64_t b = 0; b < count; b++) chosen[b] = (int64_t)(((uint64_t)words[b] * (uint64_t)samples) >> 32);
        return;
    }
    for (int64_t b = 0; b < count; b++) {
        const int64_t other = b + (int64_t)(((uint64_t)words[b] * (uint64_t)(samples - b)) >> 32), held = order[b];
        order[b] = order[other];
        order[other] = held;
        swapped[b] = other;
        chosen[b] = order[b];
    }
    for (int64_t b = count - 1; b >= 0; b--) {
        const int64_t other = swapped[b], held = order[b];
        order[b] = order[other];
        order[other] = held;
    }
}

/* The sample numbers of a minibatch; `words` has room for whole fours, the rest is as in batch_of_words. */
INLINE void philox_batch(const philox_place *at, int64_t samples, int64_t count, int replace, uint32_t *words,
                         int64_t *order, int64_t *swapped, int64_t *chosen) {
    for (int64_t b = 0; b < count; b += 4) philox_block(at, (STREAM_BATCH << 28) | (uint32_t)(b / 4), words + b);
    batch_of_words(words, samples, count, replace, order, swapped, chosen);
}

/* The minibatch of a step where every sample comes once in samples / count steps. `order` holds that of the epoch,
   drawn at its first step and where it is not there yet (`fresh`). */
INLINE void philox_epoch(const philox_place *at, int64_t samples, int64_t count, int fresh, int64_t *order,
                         int64_t *chosen) {
    const int64_t steps = samples / count, place = (int64_t)at->step % steps;
    if (fresh || place == 0) {
        philox_place epoch = *at;
        uint32_t words[4] = {0, 0, 0, 0};
        epoch.step = (uint32_t)((int64_t)at->step / steps);
        for (int64_t b = 0; b < samples; b++) order[b] = b;
        for (int64_t b = 0; b < samples; b++) {
            if (b % 4 == 0) philox_block(&epoch, (STREAM_BATCH << 28) | (uint32_t)(b / 4), words);
            const int64_t other = b + (int64_t)(((uint64_t)words[b % 4] * (uint64_t)(samples - b)) >> 32);
            const int64_t held = order[b];
            order[b] = order[other];
            order[other] = held;
        }
    }
    for (int64_t b = 0; b < count; b++) chosen[b] = order[place * count + b];
}

#endif
