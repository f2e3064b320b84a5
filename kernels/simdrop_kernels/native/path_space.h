/* Where VL paths of a stochastic equation are followed, one in each lane, per dtype.

   Legend: that of cpu/follow; n samples, c outputs, D inputs, m neurons, P = m (c + D). X, k, N and what else is like
   theta lies as theta does, a vector for each parameter. Neuron j has h at j n + i, and b at o m + j; T and u have
   neuron j of row ρ = i c + o at j n c + ρ. A minibatch has B positions in the place of n samples. */

typedef struct {
    const simdrop_path_task *t;
    int64_t n, c, D, m, params, rows, groups, group_rows, numbers, batch;
    int single, shared; /* whether a group has one row; whether samples have numbers of their own beside shared ones */
    const REAL *x, *y;
    vec *state, *point, *drift, *total, *noise, *gradient; /* (P) */
    vec *moment[2];                                        /* (P) of the optimizer, in training */
    vec *b, *db;                                           /* (c, m) */
    vec *h, *h1, *h2, *dh;                                 /* (m, n) */
    vec *e, *de;                                           /* (n, c) */
    vec *by_z;                                             /* (n) */
    vec *u, *tail;                                         /* (m, n c): `tail` is T */
    vec *z, *apart, *mean;    /* normal numbers: of a row, of a sample, the mean of such rows over samples */
    vec *further;             /* normal numbers of another of the steps that are joined */
    vec *omega;               /* (n) */
    vec *factors;             /* (B or 1, m) */
    vec *batch_h, *batch_tail; /* (m, B), (m, B c): of minibatches */
    vec *batch_y, *batch_e;    /* (B, c) */
    vec factor[FACTORS], half_lr, inverse_keep, deviation;
    u64v member[VL / U64_LANES], threshold[VL / U64_LANES];
    ivec alive;
    u64v *words;
    uint32_t *drawn; /* words of a minibatch */
    int64_t *order, *swapped, *chosen; /* chosen: (B, VL) */
    void *memory;
} N(paths);

/* Blocks of words that are drawn before they are turned into numbers. */
#define BLOCKS_AHEAD 16

static size_t N(lay_out_paths)(N(paths) * s, char *base) {
    const simdrop_path_task *t = s->t;
    const int masks = t->by_masks, minibatch = t->batch > 0;
    const int64_t B = s->batch, passed = s->m * s->n, by_row = s->m * s->rows;
    int64_t most = s->numbers + 1 > s->c * (1 + s->m) ? s->numbers + 1 : s->c * (1 + s->m);
    if (most < s->params) most = s->params;
    const int64_t normals = 4 * (most / 4 + BLOCKS_AHEAD);
    size_t used = 0;
#define CARVE(field, count) s->field = N(carve)(base, &used, count, sizeof *s->field)
    CARVE(state, s->params);
    CARVE(point, s->params);
    CARVE(drift, s->params);
    CARVE(total, s->params);
    CARVE(noise, s->params);
    CARVE(gradient, s->params);
    CARVE(moment[0], t->moments != NULL ? s->params : 0);
    CARVE(moment[1], t->moments != NULL ? s->params : 0);
    CARVE(b, s->c * s->m);
    CARVE(db, s->c * s->m);
    CARVE(h, passed);
    CARVE(h1, passed);
    CARVE(h2, passed);
    CARVE(dh, passed);
    CARVE(e, s->rows);
    CARVE(de, s->rows);
    CARVE(by_z, s->n);
    CARVE(u, masks ? 0 : by_row);
    CARVE(tail, by_row);
    CARVE(z, normals);
    CARVE(apart, s->shared ? normals : 0);
    CARVE(further, t->joined > 1 ? normals : 0);
    CARVE(mean, s->shared ? s->numbers + 1 : 0);
    CARVE(omega, s->n);
    CARVE(factors, masks ? s->m * (t->mask == MASK_SAMPLE ? B : 1) + 4 * BLOCKS_AHEAD : 0);
    CARVE(batch_h, masks && minibatch ? s->m * B : 0);
    CARVE(batch_tail, masks && minibatch ? s->m * B * s->c : 0);
    CARVE(batch_y, masks ? B * s->c : 0);
    CARVE(batch_e, masks ? B * s->c : 0);
    CARVE(words, 4 * BLOCKS_AHEAD);
    CARVE(drawn, masks && minibatch ? (B + 3) / 4 * 4 : 0);
    CARVE(order, s->n);
    CARVE(swapped, B);
    CARVE(chosen, masks && minibatch ? B * VL : 0);
#undef CARVE
    return used;
}

/* Returns 0, or -1 where there is no memory. */
static int N(open_paths)(N(paths) * s, const simdrop_path_task *t) {
    memset(s, 0, sizeof *s);
    s->t = t;
    s->n = t->samples, s->c = t->outputs, s->D = t->inputs, s->m = t->width;
    s->x = t->x, s->y = t->y;
    s->params = s->m * (s->c + s->D);
    s->rows = s->n * s->c;
    s->batch = t->by_masks && t->batch > 0 ? t->batch : s->n;
    s->groups = t->mask == MASK_SAMPLE ? s->n : 1;
    s->shared = !t->by_masks && t->mask == MASK_STEP && t->batch > 0;
    if (s->shared) s->groups = s->n;
    s->group_rows = s->rows / s->groups;
    s->single = s->group_rows == 1 && !s->shared;
    s->numbers = (s->single ? 2 * s->m + 1 : s->m * (s->m + 1) / 2) + (t->gaussian ? s->m : 0);
    if (t->by_masks) s->numbers = s->m;
    const size_t size = N(lay_out_paths)(s, NULL);
    s->memory = malloc(size + 64);
    if (s->memory == NULL) return -1;
    memset(s->memory, 0, size + 64);
    N(lay_out_paths)(s, (char *)(((uintptr_t)s->memory + 63) / 64 * 64));
    for (int64_t i = 0; i < s->n; i++) s->order[i] = i;
    return 0;
}

/* The lanes of a vector, read and written by name. */
INLINE void N(put_lane)(vec *v, int lane, REAL value) { ((REAL *)v)[lane] = value; }
INLINE REAL N(get_lane)(const vec *v, int lane) { return ((const REAL *)v)[lane]; }

/* Puts paths first, ..., first + VL - 1 into the lanes; lanes beyond the last path follow it once more. */
static void N(load_paths)(N(paths) * s, int64_t first) {
    const simdrop_path_task *t = s->t;
    for (int l = 0; l < VL; l++) {
        const int64_t path = first + l < t->members ? first + l : t->members - 1;
        const double keep = t->keep_prob[path], words = rint(keep * 4294967296.0);
        const REAL *theta = (const REAL *)t->theta + path * s->params;
        for (int64_t p = 0; p < s->params; p++) N(put_lane)(&s->state[p], l, theta[p]);
        for (int k = 0; k < FACTORS && t->numbers != NULL; k++) {
            N(put_lane)(&s->factor[k], l, (REAL)t->numbers[path * FACTORS + k]);
        }
        if (t->numbers == NULL) N(put_lane)(&s->factor[FACTOR_VARIANCE], l, (REAL)((1 - keep) / keep));
        N(put_lane)(&s->half_lr, l, (REAL)(t->lr[path * t->rates] / 2));
        N(put_lane)(&s->inverse_keep, l, (REAL)(1 / keep));
        N(put_lane)(&s->deviation, l, (REAL)sqrt((1 - keep) / keep));
        s->alive[l] = t->diverged[path] < 0 ? -1 : 0;
        s->member[l / U64_LANES][l % U64_LANES] = t->member[path];
        s->threshold[l / U64_LANES][l % U64_LANES] = (uint64_t)(words > 1 ? words : 1) - 1;
    }
}

static void N(store_paths)(const N(paths) * s, int64_t first) {
    const simdrop_path_task *t = s->t;
    for (int l = 0; l < VL && first + l < t->members; l++) {
        REAL *theta = (REAL *)t->theta + (first + l) * s->params;
        for (int64_t p = 0; p < s->params; p++) theta[p] = N(get_lane)(&s->state[p], l);
    }
}

/* `count` normal numbers of a row into z, which has room for BLOCKS_AHEAD blocks more. */
static void N(lane_normals)(N(paths) * s, vec *z, int64_t count, const lane_place *at) {
    const int64_t blocks = (count + 3) / 4;
    for (int64_t first = 0; first < blocks; first += BLOCKS_AHEAD, z += 4 * BLOCKS_AHEAD) {
        const int64_t some = blocks - first < BLOCKS_AHEAD ? blocks - first : BLOCKS_AHEAD;
        for (int part = 0; part < VL / U64_LANES; part++) {
            lane_words(some, (uint32_t)first, at, s->member[part], s->words);
            for (int64_t q = 0; q < 4 * some; q += 2) {
                f64v found[2];
                normal_pair(s->words[q], s->words[q + 1], &found[0], &found[1]);
#if REAL_IS_FLOAT
                typedef float half __attribute__((vector_size(VBYTES / 2)));
                for (int k = 0; k < 2; k++) {
                    const half rounded = __builtin_convertvector(found[k], half);
                    memcpy((char *)&z[q + k] + part * (int)sizeof rounded, &rounded, sizeof rounded);
                }
#else
                z[q] = found[0], z[q + 1] = found[1];
#endif
            }
        }
    }
}

/* The dropout factors of a mask into `factors` (m and up to BLOCKS_AHEAD blocks more). */
static void N(lane_factors)(N(paths) * s, vec *factors, const lane_place *at) {
    const int64_t blocks = (s->m + 3) / 4;
    for (int64_t first = 0; first < blocks; first += BLOCKS_AHEAD, factors += 4 * BLOCKS_AHEAD) {
        const int64_t some = blocks - first < BLOCKS_AHEAD ? blocks - first : BLOCKS_AHEAD;
        for (int part = 0; part < VL / U64_LANES; part++) {
            lane_words(some, (uint32_t)first, at, s->member[part], s->words);
            for (int64_t q = 0; q < 4 * some; q++) {
                const i64v kept = (i64v)word_of(s->words[q]) <= (i64v)s->threshold[part];
#if REAL_IS_FLOAT
                typedef int32_t half __attribute__((vector_size(VBYTES / 2)));
                const half narrow = __builtin_convertvector(kept, half);
                half keep;
                memcpy(&keep, (const char *)&s->inverse_keep + part * (int)sizeof keep, sizeof keep);
                keep &= narrow;
                memcpy((char *)&factors[q] + part * (int)sizeof keep, &keep, sizeof keep);
#else
                factors[q] = (vec)((i64v)s->inverse_keep & kept);
#endif
            }
        }
    }
}
