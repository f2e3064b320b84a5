/* One training step of one member, per dtype: draw, compute, update, judge. */

/* Numbers of a member that do not change from step to step. */
typedef struct {
    REAL lr, inverse_keep;
    double keep_prob;
    uint32_t threshold; /* a neuron is kept where its word is at most this */
    int draws;          /* whether any neuron can be dropped */
    philox_place place;
} N(member);

/* How the neurons of a step are chosen. */
enum N(choice) { N(ALL), N(KEPT), N(MASKED) };

static N(member) N(member_of)(const simdrop_task *t, int64_t number) {
    N(member) one;
    one.lr = (REAL)t->lr[number * t->rates];
    one.keep_prob = t->keep_prob[number];
    one.inverse_keep = (REAL)(1 / one.keep_prob);
    const double words = rint(one.keep_prob * 4294967296.0);
    one.threshold = (uint32_t)((words > 1 ? words : 1) - 1);
    one.draws = t->objective == OBJECTIVE_DROPOUT && one.threshold != UINT32_MAX;
    one.place = philox_at(t->seed, t->member[number]);
    return one;
}

/* What multiplies a h in the gradient of R_1, where that is trained, and 0 elsewhere. */
static REAL N(r1_of)(const simdrop_task *t, const N(member) * one, int64_t n) {
    if (t->objective != OBJECTIVE_RISK_R1) return 0;
    return (REAL)((1 - one->keep_prob) / one->keep_prob * t->output_scale * t->output_scale / (double)n);
}

/* The samples of a minibatch, and what gemm.h reads of them. */
static void N(take_samples)(const simdrop_task *t, N(space) * s, const int64_t *chosen, int64_t first) {
    const REAL *x = t->x, *y = t->y;
    for (int64_t i = 0; i < s->n; i++) {
        const int64_t from = chosen ? chosen[i] : first + i;
        memcpy(s->x + i * s->inputs, x + from * s->inputs, (size_t)s->inputs * sizeof(REAL));
        if (y) memcpy(s->y + i * s->outputs, y + from * s->outputs, (size_t)s->outputs * sizeof(REAL));
    }
    if (!N(has_fused_forward)(t->activation, s)) N(pack_blocks)(s->x, s->n, s->inputs, s->inputs, 1, s->x_rows);
    if (!N(has_fused)(s)) N(pack_blocks)(s->x, s->inputs, s->n, 1, s->inputs, s->x_columns);
}

/* Residuals times `scale`, from the sums of a step whose outputs are multiplied by `gain`. */
static void N(residuals)(N(space) * s, REAL gain, REAL scale) {
    const int64_t count = s->n * s->outputs;
    for (int64_t q = 0; q < count; q += VL) {
        const vec e = gain * N(sums_of_rows)(s->sums + q * VL) - N(load)(s->y + q);
        N(store)(s->e + q, e * scale);
    }
}

/* Residuals of any loss: the squared one's in vectors, of the others the outputs, which loss.h turns into residuals. */
static void N(find_residuals)(const simdrop_task *t, N(space) * s, REAL gain, REAL scale) {
    if (t->loss == LOSS_SQUARED) {
        N(residuals)(s, gain, scale);
        return;
    }
    const int64_t count = s->n * s->outputs;
    for (int64_t q = 0; q < count; q += VL) N(store)(s->e + q, gain * N(sums_of_rows)(s->sums + q * VL));
    N(residuals_of)(t->loss, s, scale);
}

/* The bits of the neurons that there are: all of a mask without dropout. */
INLINE uint32_t N(valid_bits)(const N(space) * s, int64_t v) {
    const int64_t rest = s->width - v * VL;
    return (uint32_t)((UINT64_C(1) << (rest < VL ? rest : VL)) - 1);
}

/* The step's mask on the update alone: the gradients of the neurons that it keeps times 1/p, those of the others 0. */
static void N(mask_update)(N(space) * s, N(member) * one) {
    philox_masks(&one->place, STREAM_STEP_MASK, 1, s->width, one->threshold, s->bits);
    for (int64_t r = 0; r < s->rows; r++) {
        for (int64_t v = 0; v * VL < s->width; v++) {
            REAL *grad = s->grad + r * s->row + v * VL;
            N(store)(grad, N(keep_lanes)(N(bits_of)(s->bits, v), N(load)(grad) * one->inverse_keep));
        }
    }
}

/* The parameters under a mask that acts in the outputs alone: output weights of the neurons that it drops are 0. */
static const REAL *N(mask_outputs)(N(space) * s, N(member) * one, uint32_t stream) {
    philox_masks(&one->place, stream, 1, s->width, one->threshold, s->bits);
    memcpy(s->packed, s->theta, (size_t)(s->rows * s->row) * sizeof(REAL));
    for (int64_t r = 0; r < s->outputs; r++) {
        for (int64_t v = 0; v * VL < s->width; v++) {
            const int64_t at = r * s->row + v * VL;
            N(store)(s->packed + at, N(keep_lanes)(N(bits_of)(s->bits, v), N(load)(s->theta + at)));
        }
    }
    return s->packed;
}

/* The gradient; `choice` tells which neurons grad holds. */
static void N(gradient)(const simdrop_task *t, N(space) * s, N(member) * one, int64_t number,
                        enum N(choice) * choice) {
    int64_t kept = s->width;
    one->place.step = (uint32_t)number;
    *choice = N(ALL);
    if (t->minibatch) {
        if (t->epochs) {
            philox_epoch(&one->place, t->samples, t->batch, number == t->first_step, s->order, s->chosen);
        } else {
            philox_batch(&one->place, t->samples, t->batch, t->replace, s->batch_words, s->order, s->swapped, s->chosen);
        }
        N(take_samples)(t, s, s->chosen, 0);
    }
    const int whole = t->place == PLACE_BOTH, independent = t->place == PLACE_INDEPENDENT;
    const int in_outputs = independent || t->place == PLACE_FORWARD, on_update = independent || t->place == PLACE_UPDATE;
    if (one->draws && t->mask == MASK_STEP && whole) {
        *choice = N(KEPT);
        kept = philox_masks(&one->place, STREAM_STEP_MASK, 1, s->width, one->threshold, s->bits);
        N(pack_kept)(s, kept);
    } else if (one->draws && whole) {
        *choice = N(MASKED);
        philox_masks(&one->place, STREAM_SAMPLE_MASK, s->n, s->width, one->threshold, s->bits);
    }
    const REAL *p = *choice == N(KEPT) ? s->packed : s->theta, *seen = p;
    if (one->draws && in_outputs) seen = N(mask_outputs)(s, one, independent ? STREAM_STEP_FORWARD : STREAM_STEP_MASK);
    const int64_t vectors = N(round_up)(*choice == N(KEPT) ? kept : s->width, VL) / VL;
    const REAL inverse_keep = t->objective == OBJECTIVE_DROPOUT && (whole || in_outputs) ? one->inverse_keep : 1;
    const REAL gain = (REAL)t->output_scale * inverse_keep, pull = whole ? gain : (REAL)t->output_scale;
    N(forward)(t->activation, *choice == N(MASKED), s, seen, vectors);
    N(find_residuals)(t, s, gain, pull / (REAL)s->n);
    const REAL r1 = N(r1_of)(t, one, s->n);
    N(backward)(t->activation, *choice == N(MASKED), s, p, vectors, r1);
    if (on_update && one->draws) N(mask_update)(s, one);
}

/* theta -= lr g for the neurons that grad holds. */
static void N(descend)(N(space) * s, REAL lr, enum N(choice) choice) {
    if (choice == N(KEPT)) {
        N(descend_kept)(s, lr);
        return;
    }
    for (int64_t r = 0; r < s->rows; r++) {
        REAL *theta = s->theta + r * s->row;
        const REAL *grad = s->grad + r * s->row;
        for (int64_t v = 0; v * VL < s->width; v++) {
            const vec g = N(keep_lanes)(N(valid_bits)(s, v), N(load)(grad + v * VL));
            N(store)(theta + v * VL, N(load)(theta + v * VL) - lr * g);
        }
    }
}

/* One row's update with momentum. */
static void N(accelerate)(const simdrop_task *t, int64_t count, REAL lr, const REAL *restrict g,
                          REAL *restrict theta, REAL *restrict u) {
    const REAL momentum = (REAL)t->momentum;
    for (int64_t j = 0; j < count; j++) {
        u[j] = momentum * u[j] + g[j];
        theta[j] -= lr * u[j];
    }
}

/* One row's update with Nesterov's momentum. */
static void N(look_ahead)(const simdrop_task *t, int64_t count, REAL lr, const REAL *restrict g,
                          REAL *restrict theta, REAL *restrict u) {
    const REAL momentum = (REAL)t->momentum;
    for (int64_t j = 0; j < count; j++) {
        u[j] = momentum * u[j] + g[j];
        theta[j] -= lr * (g[j] + momentum * u[j]);
    }
}

/* One row's weight decay: of its gradient, or apart from that of itself. */
static void N(decay)(const simdrop_task *t, int64_t count, REAL lr, REAL *restrict g, REAL *restrict theta) {
    const REAL decay = (REAL)t->weight_decay;
    for (int64_t j = 0; j < count; j++) {
        if (t->decoupled) theta[j] -= lr * decay * theta[j];
        else g[j] += decay * theta[j];
    }
}

/* One row's update with Adam; the corrections are numbers of the step alone: computed in double, rounded once. */
static void N(adapt)(const simdrop_task *t, int64_t count, REAL lr, const REAL unbias[2], const REAL *restrict g,
                     REAL *restrict theta, REAL *restrict u, REAL *restrict v) {
    const REAL beta1 = (REAL)t->beta1, rest1 = (REAL)(1 - t->beta1), epsilon = (REAL)t->epsilon;
    const REAL beta2 = (REAL)t->beta2, rest2 = (REAL)(1 - t->beta2), unbias1 = unbias[0], unbias2 = unbias[1];
    for (int64_t j = 0; j < count; j++) {
        u[j] = beta1 * u[j] + rest1 * g[j];
        v[j] = beta2 * v[j] + rest2 * g[j] * g[j];
#if REAL_IS_FLOAT
        const REAL size = sqrtf(v[j] * unbias2) + epsilon;
#else
        const REAL size = sqrt(v[j] * unbias2) + epsilon;
#endif
        theta[j] -= lr * (u[j] * unbias1) / size;
    }
}

static void N(update)(const simdrop_task *t, N(space) * s, const N(member) * one, int64_t number,
                      enum N(choice) choice) {
    if (t->optimizer == OPTIMIZER_SGD && t->weight_decay == 0) {
        N(descend)(s, one->lr, choice);
        return;
    }
    REAL *g = choice == N(KEPT) ? N(spread_gradient)(s) : s->grad;
    const REAL unbias[2] = {(REAL)(1 / (1 - pow(t->beta1, (double)(number + 1)))),
                            (REAL)(1 / (1 - pow(t->beta2, (double)(number + 1))))};
    for (int64_t r = 0; r < s->rows; r++) {
        const int64_t at = r * s->row;
        REAL *theta = s->theta + at, *u = s->moment[0] + at;
        if (t->weight_decay != 0) N(decay)(t, s->width, one->lr, g + at, theta);
        if (t->optimizer == OPTIMIZER_SGD) {
            for (int64_t j = 0; j < s->width; j++) theta[j] -= one->lr * g[at + j];
        } else if (t->optimizer == OPTIMIZER_MOMENTUM) N(accelerate)(t, s->width, one->lr, g + at, theta, u);
        else if (t->optimizer == OPTIMIZER_NESTEROV) N(look_ahead)(t, s->width, one->lr, g + at, theta, u);
        else N(adapt)(t, s->width, one->lr, unbias, g + at, theta, u, s->moment[1] + at);
    }
}

/* Whether rows of all neurons have a NaN or a number larger than `limit`: bits of such are larger integers. */
static int N(beyond)(const N(space) * s, const REAL *rows, REAL limit) {
    const ivec largest = (ivec)N(splat)(limit);
    ivec sign = {0};
    for (int64_t r = 0; r < s->rows; r++) {
        for (int64_t v = 0; v * VL < s->width; v++) {
            sign |= largest - (ivec)N(magnitude)(N(load)(rows + r * s->row + v * VL));
        }
    }
    return N(any_negative)(sign);
}

/* Whether a member has diverged: see kernels/spec.py, Ensemble. */
static int N(has_diverged)(const simdrop_task *t, const N(space) * s) {
#if REAL_IS_FLOAT
    const REAL limit = 0x1p64f, largest = FLT_MAX;
#else
    const REAL limit = 0x1p512, largest = DBL_MAX;
#endif
    return N(beyond)(s, s->theta, limit) || (t->optimizer == OPTIMIZER_ADAM && N(beyond)(s, s->moment[1], largest));
}

/* Whether the last input is 1 for every sample. */
static int N(has_bias)(const simdrop_task *t) {
    const REAL *x = t->x;
    for (int64_t i = 0; i < t->samples; i++) {
        if (x[i * t->inputs + t->inputs - 1] != 1) return 0;
    }
    return t->inputs > 1;
}
