/* Training steps with more noise than dropout, members in lanes, per dtype: what paths by masks draw, once or, under SVAG,
   twice a step. Legend in path_space.h. */

/* The optimizer's moments, into the lanes or out of them. */
static void N(move_moments)(N(paths) * s, int64_t first, int kept, int in) {
    for (int l = 0; l < VL && first + l < s->t->members; l++) {
        for (int k = 0; k < kept; k++) {
            REAL *moments = (REAL *)s->t->moments + ((first + l) * kept + k) * s->params;
            for (int64_t p = 0; p < s->params; p++) {
                if (in) N(put_lane)(&s->moment[k][p], l, moments[p]);
                else moments[p] = N(get_lane)(&s->moment[k][p], l);
            }
        }
    }
}

/* The learning rates of this step, where they change. */
static void N(take_path_rates)(N(paths) * s, int64_t first, int64_t step) {
    const simdrop_path_task *t = s->t;
    for (int l = 0; l < VL; l++) {
        const int64_t path = first + l < t->members ? first + l : t->members - 1;
        N(put_lane)(&s->half_lr, l, (REAL)(t->lr[path * t->rates + step - t->first_step] / 2));
    }
}

/* Weight decay of the weights that are trained: λ theta into N, or taken off theta in the lanes that are alive. */
static void N(decay_paths)(N(paths) * s) {
    const simdrop_path_task *t = s->t;
    const REAL decay = (REAL)t->weight_decay;
    const int64_t cut = s->c * s->m, end = t->train == TRAIN_OUTPUT ? cut : s->params;
    const vec shrink = (s->half_lr + s->half_lr) * decay;
    for (int64_t p = t->train == TRAIN_INPUT ? cut : 0; p < end; p++) {
        if (t->decoupled) s->state[p] = N(select)(s->alive, s->state[p] - shrink * s->state[p], s->state[p]);
        else s->noise[p] += decay * s->state[p];
    }
}

/* N: the gradient that a step takes. */
static void N(noisy_gradient)(N(paths) * s, uint32_t step) {
    const simdrop_path_task *t = s->t;
    const REAL weights[2] = {(REAL)t->weights[0], (REAL)t->weights[1]};
    N(forward_paths)(s, s->state, 0);
    if (t->part != PART_DRIFT) N(weighted_draws)(s, N(splat)(1), t->draws, (uint32_t)t->draws * step, weights);
    if (t->part == PART_BOTH) return;
    N(mean_gradient)(s, s->gradient);
    for (int64_t p = 0; p < s->params; p++) {
        s->noise[p] = t->part == PART_DRIFT ? s->gradient[p] : s->noise[p] - s->gradient[p];
    }
}

/* The optimizer's step by N, in the lanes that are alive, and which of them have not diverged by it. */
static ivec N(noisy_update)(N(paths) * s, int64_t step) {
    const simdrop_path_task *t = s->t;
    const vec lr = s->half_lr + s->half_lr, limit = N(splat)(REAL_IS_FLOAT ? (REAL)0x1p64 : (REAL)0x1p512);
    const vec largest = N(splat)(REAL_IS_FLOAT ? (REAL)FLT_MAX : (REAL)DBL_MAX);
    const REAL beta1 = (REAL)t->beta1, beta2 = (REAL)t->beta2, rest1 = (REAL)(1 - t->beta1), rest2 = (REAL)(1 - t->beta2);
    REAL unbias1 = 1, unbias2 = 1;
    if (t->optimizer == OPTIMIZER_ADAM) { /* numbers of the step alone: computed in double, rounded once */
        unbias1 = (REAL)(1 / (1 - pow(t->beta1, (double)(step + 1))));
        unbias2 = (REAL)(1 / (1 - pow(t->beta2, (double)(step + 1))));
    }
    ivec within = s->alive;
    for (int64_t p = 0; p < s->params; p++) {
        vec move = s->noise[p], first = move, second = N(splat)(0);
        if (t->optimizer == OPTIMIZER_MOMENTUM || t->optimizer == OPTIMIZER_NESTEROV) {
            first = (REAL)t->momentum * s->moment[0][p] + s->noise[p];
            move = t->optimizer == OPTIMIZER_NESTEROV ? s->noise[p] + (REAL)t->momentum * first : first;
        } else if (t->optimizer == OPTIMIZER_ADAM) {
            first = beta1 * s->moment[0][p] + rest1 * s->noise[p];
            second = beta2 * s->moment[1][p] + rest2 * s->noise[p] * s->noise[p];
            move = first * unbias1 / (N(root)(second * unbias2) + (REAL)t->epsilon);
        }
        const vec theta = s->state[p] - lr * move;
        within &= (ivec)(N(magnitude)(theta) <= limit);
        if (t->optimizer != OPTIMIZER_SGD) {
            within &= (ivec)(N(magnitude)(first) <= largest) & (ivec)(second <= largest);
            s->moment[0][p] = N(select)(s->alive, first, s->moment[0][p]);
            s->moment[1][p] = N(select)(s->alive, second, s->moment[1][p]);
        }
        s->state[p] = N(select)(s->alive, theta, s->state[p]);
    }
    return within;
}

static int N(train_noisy)(const simdrop_path_task *t) {
    const int kept = moments_of(t->optimizer);
    N(paths) s;
    if (N(open_paths)(&s, t)) return -1;
    for (int64_t first = 0; first < t->members; first += VL) {
        N(load_paths)(&s, first);
        N(move_moments)(&s, first, kept, 1);
        for (int64_t step = t->first_step; step < t->first_step + t->steps && N(any_negative)(s.alive); step++) {
            if (t->rates > 1) N(take_path_rates)(&s, first, step);
            N(noisy_gradient)(&s, (uint32_t)step);
            if (t->weight_decay != 0 && t->part != PART_NOISE) N(decay_paths)(&s);
            const ivec within = N(noisy_update)(&s, step);
            N(mark_lost)(&s, within, first, step);
        }
        N(store_paths)(&s, first);
        N(move_moments)(&s, first, kept, 0);
    }
    free(s.memory);
    return 0;
}
