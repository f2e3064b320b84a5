/* Philox4x32-10, the masks and minibatches drawn from it. The layout of counters is that of kernels/rng.py. */
#ifndef SIMDROP_PHILOX_H
#define SIMDROP_PHILOX_H

#include "isa.h"
#include "task.h"

#define STREAM_STEP_MASK UINT32_C(0)
#define STREAM_SAMPLE_MASK UINT32_C(1)
#define STREAM_BATCH UINT32_C(2)

#define PHILOX_ROUNDS 10
#define PHILOX_MULTIPLIER_0 UINT32_C(0xD2511F53)
#define PHILOX_MULTIPLIER_1 UINT32_C(0xCD9E8D57)
#define PHILOX_WEYL_0 UINT32_C(0x9E3779B9)
#define PHILOX_WEYL_1 UINT32_C(0xBB67AE85)

/* Words 1, 2, 3 of the counter, and the key. */
typedef struct {
    uint32_t sample, step, member;
    uint32_t key[2];
} philox_place;

/* The four words of one block. */
INLINE void philox_block(philox_place at, uint32_t word0, uint32_t out[4]) {
    uint32_t c0 = word0, c1 = at.sample, c2 = at.step, c3 = at.member, k0 = at.key[0], k1 = at.key[1];
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        const uint64_t p0 = (uint64_t)PHILOX_MULTIPLIER_0 * c0, p1 = (uint64_t)PHILOX_MULTIPLIER_1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += PHILOX_WEYL_0;
        k1 += PHILOX_WEYL_1;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* Bits of 32 neurons, those of blocks first, ..., first + 7: 1 where word <= threshold.

   64-bit lanes carry 32-bit words; what the products leave in the upper halves is never read, for
   multiplications take the lower halves alone. */
INLINE uint32_t philox_kept_32(philox_place at, uint32_t stream, uint32_t first, uint32_t threshold) {
    const u64v low = u64_splat(UINT64_C(0xFFFFFFFF)), limit = u64_splat(threshold);
    const u64v multiplier_0 = u64_splat(PHILOX_MULTIPLIER_0), multiplier_1 = u64_splat(PHILOX_MULTIPLIER_1);
    u64v lane;
    for (int l = 0; l < U64_LANES; l++) lane[l] = (uint64_t)l;
    uint32_t dropped[4] = {0, 0, 0, 0};
    for (uint32_t part = 0; part < 8; part += U64_LANES) {
        u64v c0 = lane + (uint64_t)((stream << 28) | (first + part));
        u64v c1 = u64_splat(at.sample), c2 = u64_splat(at.step), c3 = u64_splat(at.member);
        uint32_t k0 = at.key[0], k1 = at.key[1];
        for (int round = 0; round < PHILOX_ROUNDS; round++) {
            const u64v p0 = u64_multiply_low(multiplier_0, c0), p1 = u64_multiply_low(multiplier_1, c2);
            c0 = (p1 >> 32) ^ c1 ^ u64_splat(k0);
            c1 = p1;
            c2 = (p0 >> 32) ^ c3 ^ u64_splat(k1);
            c3 = p0;
            k0 += PHILOX_WEYL_0;
            k1 += PHILOX_WEYL_1;
        }
        dropped[0] |= u64_signs(limit - (c0 & low)) << part;
        dropped[1] |= u64_signs(limit - (c1 & low)) << part;
        dropped[2] |= u64_signs(limit - (c2 & low)) << part;
        dropped[3] |= u64_signs(limit - (c3 & low)) << part;
    }
    return ~(spread_by_four(dropped[0], 0) | spread_by_four(dropped[1], 1) | spread_by_four(dropped[2], 2) |
             spread_by_four(dropped[3], 3));
}

/* The mask of `width` neurons as bits of 32-bit words, bits past the width 0. Returns how many are kept. */
INLINE int64_t philox_mask(philox_place at, uint32_t stream, int64_t width, uint32_t threshold, uint32_t *bits) {
    int64_t kept = 0;
    for (int64_t j = 0; j < width; j += 32) {
        uint32_t word = philox_kept_32(at, stream, (uint32_t)(j / 4), threshold);
        if (width - j < 32) word &= (UINT32_C(1) << (width - j)) - 1;
        bits[j / 32] = word;
        kept += __builtin_popcount(word);
    }
    return kept;
}

/* The sample numbers of a minibatch. Without replacement `order` must hold 0, ..., samples - 1; the first
   `count` exchanges of a Fisher-Yates shuffle are made in it, noted in `swapped`, and undone. */
INLINE void philox_batch(philox_place at, int64_t samples, int64_t count, int replace, int64_t *order,
                         int64_t *swapped, int64_t *chosen) {
    uint32_t words[4] = {0, 0, 0, 0};
    for (int64_t b = 0; b < count; b++) {
        if (b % 4 == 0) philox_block(at, (STREAM_BATCH << 28) | (uint32_t)(b / 4), words);
        const uint64_t word = words[b % 4];
        if (replace) {
            chosen[b] = (int64_t)((word * (uint64_t)samples) >> 32);
            continue;
        }
        const int64_t other = b + (int64_t)((word * (uint64_t)(samples - b)) >> 32), held = order[b];
        order[b] = order[other];
        order[other] = held;
        swapped[b] = other;
        chosen[b] = order[b];
    }
    if (replace) return;
    for (int64_t b = count - 1; b >= 0; b--) {
        const int64_t other = swapped[b], held = order[b];
        order[b] = order[other];
        order[other] = held;
    }
}

#endif
