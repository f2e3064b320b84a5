/* The steps of a stochastic equation's scheme, per dtype: contract/equation.py has the stages. */

/* Only the lanes in `within` stay alive: of the others that were, it is told at which step they diverged. */
static void N(mark_lost)(N(paths) * s, ivec within, int64_t first, int64_t step) {
    const ivec lost = s->alive & ~within;
    s->alive = within;
    if (!N(any_negative)(lost)) return;
    for (int l = 0; l < VL && first + l < s->t->members; l++) {
        if (lost[l]) s->t->diverged[first + l] = step;
    }
}

/* X + h total + N in the place of X, in lanes that are alive and where none of it is beyond the limit; the others stop. */
static void N(commit)(N(paths) * s, REAL h, int64_t first, int64_t step) {
    const vec limit = N(splat)(REAL_IS_FLOAT ? (REAL)0x1p64 : (REAL)0x1p512);
    ivec within = s->alive;
    for (int64_t p = 0; p < s->params; p++) {
        s->point[p] = s->state[p] + h * s->total[p] + s->noise[p];
        within &= (ivec)(N(magnitude)(s->point[p]) <= limit);
    }
    for (int64_t p = 0; p < s->params; p++) s->state[p] = N(select)(within, s->point[p], s->state[p]);
    N(mark_lost)(s, within, first, step);
}

static void N(follow_step)(N(paths) * s, int64_t first, int64_t step, double h) {
    const simdrop_path_task *t = s->t;
    for (int64_t p = 0; p < s->params; p++) s->drift[p] = s->total[p] = s->noise[p] = N(splat)(0);
    for (int64_t k = 0; k < t->stage_count; k++) {
        const double *stage = t->stages + k * STAGE_FIELDS;
        const int drifts = stage[STAGE_WEIGHT] != 0 && t->part != PART_NOISE;
        const int shakes = stage[STAGE_NOISE] != 0 && t->part != PART_DRIFT;
        if (!drifts && !shakes) continue;
        const REAL ahead = (REAL)(stage[STAGE_AHEAD] * h), weight = (REAL)stage[STAGE_WEIGHT];
        for (int64_t p = 0; p < s->params; p++) s->point[p] = s->state[p] + ahead * s->drift[p] + s->noise[p];
        N(forward_paths)(s, s->point, drifts && t->order == 2);
        if (drifts) {
            N(fill_drift)(s);
            for (int64_t p = 0; p < s->params; p++) s->total[p] += weight * s->drift[p];
        }
        if (shakes) {
            vec size = s->factor[FACTOR_SIGN];
            for (int l = 0; l < VL; l++) {
                const int64_t path = first + l < t->members ? first + l : t->members - 1;
                size[l] *= (REAL)sqrt(t->lr[path] * h);
            }
            if (t->by_masks) {
                N(masks_noise)(s, size, (uint32_t)step);
            } else {
                N(normal_noise)(s, size, (uint32_t)step);
            }
        }
    }
    N(commit)(s, (REAL)h, first, step);
}

static int N(follow)(const simdrop_path_task *t) {
    N(paths) s;
    if (N(open_paths)(&s, t)) return -1;
    for (int64_t first = 0; first < t->members; first += VL) {
        N(load_paths)(&s, first);
        for (int64_t step = 0; step < t->steps && N(any_negative)(s.alive); step++) {
            N(follow_step)(&s, first, t->first_step + step, t->sizes[step]);
        }
        N(store_paths)(&s, first);
    }
    free(s.memory);
    return 0;
}
