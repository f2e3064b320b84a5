/* What simdrop_kernels offers, per dtype. */

static void N(train)(const simdrop_task *t, N(space) * s, int64_t number) {
    const int kept_moments = moments_of(t->optimizer);
    const int64_t params = s->rows * s->width;
    REAL *theta = (REAL *)t->theta + number * params, *moments = (REAL *)t->moments + number * kept_moments * params;
    N(member) one = N(member_of)(t, number);
    N(load_rows)(s, theta, s->theta);
    for (int k = 0; k < kept_moments; k++) N(load_rows)(s, moments + k * params, s->moment[k]);
    for (int64_t step = t->first_step; step < t->first_step + t->steps; step++) {
        enum N(choice) choice;
        if (t->rates > 1) one.lr = (REAL)t->lr[number * t->rates + step - t->first_step];
        N(gradient)(t, s, &one, step, &choice);
        N(update)(t, s, &one, step, choice);
        if (N(has_diverged)(t, s)) {
            t->diverged[number] = step;
            break;
        }
    }
    N(store_rows)(s, s->theta, theta);
    for (int k = 0; k < kept_moments; k++) N(store_rows)(s, s->moment[k], moments + k * params);
}

static int N(advance)(const simdrop_task *t) {
    N(space) s;
    if (N(open_space)(&s, t, t->batch)) return -1;
    s.bias = N(has_bias)(t);
    if (!t->minibatch) N(take_samples)(t, &s, NULL, 0);
    for (int64_t number = 0; number < t->members; number++) {
        if (t->diverged[number] < 0) N(train)(t, &s, number);
    }
    N(close_space)(&s);
    return 0;
}

static int N(evaluate)(const simdrop_task *t) {
    const int64_t most = 256, size = t->width * (t->inputs + t->outputs);
    REAL *out = t->out;
    N(space) s;
    for (int64_t first = 0; first < t->samples; first += most) {
        const int64_t n = t->samples - first < most ? t->samples - first : most;
        if (N(open_space)(&s, t, n)) return -1;
        s.bias = N(has_bias)(t);
        N(take_samples)(t, &s, NULL, first);
        for (int64_t number = 0; number < t->members; number++) {
            N(load_rows)(&s, (const REAL *)t->theta + number * size, s.theta);
            N(forward)(t->activation, 0, &s, s.theta, N(round_up)(s.width, VL) / VL);
            N(residuals)(&s, (REAL)t->output_scale, 1);
            memcpy(out + (number * t->samples + first) * t->outputs, s.e, (size_t)(n * t->outputs) * sizeof(REAL));
        }
        N(close_space)(&s);
    }
    return 0;
}

static void N(activate)(int activation, int64_t count, const void *z, void *value, void *slope) {
    for (int64_t i = 0; i < count; i += VL) {
        const size_t bytes = (size_t)(count - i < VL ? count - i : VL) * sizeof(REAL);
        vec argument = N(splat)(0), h, d;
        memcpy(&argument, (const REAL *)z + i, bytes);
        N(act)(activation, argument, &h, &d);
        memcpy((REAL *)value + i, &h, bytes);
        memcpy((REAL *)slope + i, &d, bytes);
    }
}
