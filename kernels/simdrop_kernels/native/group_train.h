/* Training of members in lanes, per dtype: group after group, step after step. Legend as in group_space.h. */

/* Whether the member of lane l has diverged: see contract/step.py, Ensemble. */
static int N(lane_diverged)(const N(group) * g, int l) {
#if REAL_IS_FLOAT
    const REAL limit = 0x1p64f, largest = FLT_MAX;
#else
    const REAL limit = 0x1p512, largest = DBL_MAX;
#endif
    int within = 1;
    for (int64_t q = 0; q < g->params; q++) {
        const REAL theta = g->theta[q * VL + l];
        within &= theta <= limit && theta >= -limit;
        if (g->kept_moments > 1) within &= g->moment[1][q * VL + l] <= largest; /* of Adam: not negative */
    }
    return !within;
}

/* Takes the members that have diverged at this step out of their lanes. */
static void __attribute__((noinline, cold)) N(retire)(const simdrop_task *t, N(group) * g, int64_t step) {
    for (int l = 0; l < VL; l++) {
        if (!N(lane_diverged)(g, l)) continue;
        if (g->alive >> l & 1) {
            t->diverged[g->at[l]] = step;
            N(copy_member)(t, g, l, 0);
        }
        N(clear_lane)(g, l);
    }
}

/* Whether a lane's sum is infinite or not a number: bits of such are larger integers. */
INLINE int N(any_overflow)(vec size) {
#if REAL_IS_FLOAT
    const REAL largest = FLT_MAX;
#else
    const REAL largest = DBL_MAX;
#endif
    return N(any_negative)((ivec)N(splat)(largest) - (ivec)N(magnitude)(size));
}

/* The members' learning rates at this step, where they change. */
static void N(take_rates)(const simdrop_task *t, N(group) * g, int64_t step) {
    for (int l = 0; l < VL; l++) {
        if (g->alive >> l & 1) g->lr[l] = (REAL)t->lr[g->at[l] * t->rates + step - t->first_step];
    }
}

/* One step of all members of the group, under step masks that are drawn already. */
INLINE void N(step_group)(const simdrop_task *t, N(group) * g, int64_t step, const N(kept) * kept) {
    if (t->rates > 1) N(take_rates)(t, g, step);
    if (!g->shared) N(take_batches)(t, g, step);
    if (g->by_sample && g->draws) N(draw_group_masks)(g, step, 1);
    if (t->optimizer == OPTIMIZER_ADAM) {
        g->unbias[0] = N(splat)((REAL)(1 / (1 - pow(t->beta1, (double)(step + 1)))));
        g->unbias[1] = N(splat)((REAL)(1 / (1 - pow(t->beta2, (double)(step + 1)))));
    }
    N(forward_group)(t->activation, g, kept);
    if (t->loss != LOSS_SQUARED) N(residuals_of_group)(t->loss, g);
    const vec size = N(backward_group)(t, g, kept);
    if (__builtin_expect(N(any_overflow)(size), 0)) N(retire)(t, g, step);
}

static void N(train_group)(const simdrop_task *t, N(group) * g) {
    const int64_t end = t->first_step + t->steps;
    const int ahead = g->draws && !g->by_sample;
    if (g->draws) N(prepare_masks)(g);
    else N(keep_all)(g);
    for (int64_t first = t->first_step; first < end && g->alive; first += GROUP_AHEAD) {
        const int64_t steps = end - first < GROUP_AHEAD ? end - first : GROUP_AHEAD;
        if (ahead) N(draw_group_masks)(g, first, steps);
        for (int64_t q = 0; q < steps; q++) {
            N(step_group)(t, g, first + q, g->kept + (g->by_sample ? 0 : q * 4 * g->blocks));
        }
    }
    for (int l = 0; l < VL; l++) {
        if (g->alive >> l & 1) N(copy_member)(t, g, l, 0);
    }
}

static int N(advance_groups)(const simdrop_task *t) {
    N(group) g;
    if (N(open_group)(&g, t)) return -1;
    int64_t next = 0;
    while (next < t->members) {
        next = N(enter_members)(t, &g, next);
        if (g.alive) N(train_group)(t, &g);
    }
    N(close_group)(&g);
    return 0;
}
