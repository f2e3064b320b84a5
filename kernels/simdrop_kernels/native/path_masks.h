/* The noise of VL paths by two draws of all that a training step draws, per dtype: N = (G - G')/√2.

   A gradient is (1/n) Σ_ρ g_ρj T_ρj too, with T_ρj = s_ρj e_ρ under factors s and their residuals e. Minibatches differ
   from lane to lane: what they need of their samples is gathered, and their T scattered. */

#define STREAM_STEP_NORMAL UINT32_C(3)
#define STREAM_SAMPLE_NORMAL UINT32_C(4)
#define STREAM_LABEL UINT32_C(5)
#define STREAM_PARAMETER UINT32_C(6)

/* Which samples every lane takes, and their h. */
static void N(gather_batch)(N(paths) * s, uint32_t number) {
    const int64_t B = s->batch;
    for (int l = 0; l < VL; l++) {
        philox_place at = philox_at(s->t->seed, s->member[l / U64_LANES][l % U64_LANES]);
        at.step = number;
        int64_t *chosen = s->chosen + l * B;
        philox_batch(&at, s->n, B, s->t->replace, s->drawn, s->order, s->swapped, chosen);
        for (int64_t j = 0; j < s->m; j++) {
            for (int64_t b = 0; b < B; b++) {
                N(put_lane)(&s->batch_h[j * B + b], l, N(get_lane)(&s->h[j * s->n + chosen[b]], l));
            }
        }
        for (int64_t r = 0; r < B * s->c; r++) {
            N(put_lane)(&s->batch_y[r], l, s->y[chosen[r / s->c] * s->c + r % s->c]);
        }
    }
}

/* Adds to T what the positions of a minibatch brought. */
static void N(scatter_batch)(N(paths) * s) {
    const int64_t B = s->batch, c = s->c;
    for (int l = 0; l < VL; l++) {
        const int64_t *chosen = s->chosen + l * B;
        for (int64_t j = 0; j < s->m; j++) {
            for (int64_t r = 0; r < B * c; r++) {
                vec *t = &s->tail[j * s->rows + chosen[r / c] * c + r % c];
                N(put_lane)(t, l, N(get_lane)(t, l) + N(get_lane)(&s->batch_tail[j * B * c + r], l));
            }
        }
    }
}

/* Targets of the batch with their noise. */
static void N(put_targets)(N(paths) * s, uint32_t number) {
    for (int64_t b = 0; b < s->batch; b++) {
        const lane_place at = {STREAM_LABEL, (uint32_t)b, number, s->t->seed};
        if (s->t->label > 0) N(lane_normals)(s, s->z, s->c, &at);
        for (int64_t o = 0; o < s->c; o++) {
            vec *y = &s->batch_y[b * s->c + o];
            if (s->t->batch == 0) *y = N(splat)(s->y[b * s->c + o]);
            if (s->t->label > 0) *y += (REAL)s->t->label * s->z[o];
        }
    }
}

/* The factors of one mask: m, or m for each position. */
static void N(draw_factors)(N(paths) * s, uint32_t number) {
    const int by_sample = s->t->mask == MASK_SAMPLE;
    for (int64_t b = 0; b < (by_sample ? s->batch : 1); b++) {
        lane_place at = {by_sample ? STREAM_SAMPLE_MASK : STREAM_STEP_MASK, (uint32_t)b, number, s->t->seed};
        vec *factors = s->factors + b * s->m;
        if (!s->t->gaussian) {
            N(lane_factors)(s, factors, &at);
            continue;
        }
        at.stream = by_sample ? STREAM_SAMPLE_NORMAL : STREAM_STEP_NORMAL;
        N(lane_normals)(s, s->z, s->m, &at);
        for (int64_t j = 0; j < s->m; j++) factors[j] = (REAL)1 + s->deviation * s->z[j];
    }
}

/* Adds `share` s e to `tail` under the factors of one mask, for h (m, B) and targets (B, c). */
static void N(add_mask)(const N(paths) * s, const vec *h, vec *tail, REAL share) {
    const int64_t B = s->batch, c = s->c, next = s->t->mask == MASK_SAMPLE ? s->m : 0;
    for (int64_t r = 0; r < B * c; r++) s->batch_e[r] = -s->batch_y[r];
    for (int64_t j = 0; j < s->m; j++) {
        for (int64_t b = 0; b < B; b++) {
            const vec masked = s->factors[b * next + j] * h[j * B + b];
            for (int64_t o = 0; o < c; o++) s->batch_e[b * c + o] += s->b[o * s->m + j] * masked;
        }
    }
    for (int64_t j = 0; j < s->m; j++) {
        for (int64_t b = 0; b < B; b++) {
            const vec factor = share * s->factors[b * next + j];
            for (int64_t o = 0; o < c; o++) tail[(j * B + b) * c + o] += factor * s->batch_e[b * c + o];
        }
    }
}

/* Adds to T `weight` times what draw `number` of all noise but that on the gradient brings. */
static void N(add_draw)(N(paths) * s, uint32_t number, REAL weight) {
    const simdrop_path_task *t = s->t;
    const int minibatch = t->batch > 0;
    const REAL share = weight * (REAL)s->n / (REAL)(s->batch * t->masks);
    vec *tail = minibatch ? s->batch_tail : s->tail;
    if (minibatch) N(gather_batch)(s, number);
    N(put_targets)(s, number);
    for (int64_t q = 0; minibatch && q < s->m * s->batch * s->c; q++) tail[q] = N(splat)(0);
    for (int64_t r = 0; r < t->masks; r++) {
        N(draw_factors)(s, number * (uint32_t)t->masks + (uint32_t)r);
        N(add_mask)(s, minibatch ? s->batch_h : s->h, tail, share);
    }
    if (minibatch) N(scatter_batch)(s);
}

/* N: `size` times the sum of `count` draws first, first + 1, ... of a training step's gradient, weighted. */
static void N(weighted_draws)(N(paths) * s, vec size, int count, uint32_t first, const REAL *weights) {
    const simdrop_path_task *t = s->t;
    for (int64_t q = 0; q < s->m * s->rows; q++) s->tail[q] = N(splat)(0);
    for (int q = 0; q < count; q++) N(add_draw)(s, first + (uint32_t)q, weights[q]);
    N(pull)(s, size);
    for (int q = 0; q < count && t->parameter > 0; q++) {
        const lane_place at = {STREAM_PARAMETER, 0, first + (uint32_t)q, t->seed};
        const vec weight = size * (weights[q] * (REAL)t->parameter);
        N(lane_normals)(s, s->z, s->params, &at);
        for (int64_t p = 0; p < s->params; p++) s->noise[p] += weight * s->z[p];
    }
    N(freeze)(s, s->noise);
}

/* N: `size` times (G - G')/√2 under draws 2 step and 2 step + 1. */
static void N(masks_noise)(N(paths) * s, vec size, uint32_t step) {
    const REAL root_half = (REAL)0.70710678118654752440, weights[2] = {root_half, -root_half};
    N(weighted_draws)(s, size, 2, 2 * step, weights);
}
