/* Gradients of a group of members and the optimizer's step, neuron by neuron, per dtype. Legend as in group_space.h.

   A neuron's parameters are updated as soon as its gradient is known: nothing else reads them in this pass. Sums of
   squares of all parameters tell whether a member may have diverged: a square overflows where the parameter is beyond
   the limit, so a sum that is finite clears them all for one operation each. */

/* One parameter's update in every lane; `at` its place. Returns `size` plus what shows that one has diverged. */
INLINE vec N(descend_lanes)(const N(group) * g, int64_t at, vec grad, vec size) {
    const vec theta = N(load)(g->theta + at) - g->lr * grad;
    N(store)(g->theta + at, theta);
    return size + theta * theta;
}

static vec N(update_lanes)(const simdrop_task *t, const N(group) * g, int64_t at, vec grad, vec size) {
    if (g->plain) return N(descend_lanes)(g, at, grad, size);
    vec start = N(load)(g->theta + at), u = N(splat)(0), change;
    if (t->weight_decay != 0) {
        if (t->decoupled) start -= g->lr * (REAL)t->weight_decay * start;
        else grad += (REAL)t->weight_decay * start;
    }
    if (g->kept_moments > 0) u = N(load)(g->moment[0] + at);
    if (t->optimizer == OPTIMIZER_SGD) {
        change = g->lr * grad;
    } else if (t->optimizer == OPTIMIZER_MOMENTUM) {
        u = (REAL)t->momentum * u + grad;
        change = g->lr * u;
    } else if (t->optimizer == OPTIMIZER_NESTEROV) {
        u = (REAL)t->momentum * u + grad;
        change = g->lr * (grad + (REAL)t->momentum * u);
    } else {
        u = (REAL)t->beta1 * u + (REAL)(1 - t->beta1) * grad;
        const vec v = (REAL)t->beta2 * N(load)(g->moment[1] + at) + (REAL)(1 - t->beta2) * grad * grad;
        N(store)(g->moment[1] + at, v);
        change = g->lr * (u * g->unbias[0]) / (N(root)(v * g->unbias[1]) + (REAL)t->epsilon);
        size += v;
    }
    if (g->kept_moments > 0) N(store)(g->moment[0] + at, u);
    const vec theta = start - change;
    N(store)(g->theta + at, theta);
    return size + theta * theta;
}

/* One or two neurons side by side, which share the loads of what all neurons see, of networks with one output. */
INLINE vec N(backward_few)(const int count, const int activation, const int inputs, const int bias, const int shared,
                           const int by_sample, const int with_r1, const simdrop_task *t, const N(group) * g,
                           const N(kept) * kept, int64_t j, vec size) {
    vec a[2], by[2][4];
#pragma GCC unroll 2
    for (int q = 0; q < count; q++) {
        a[q] = N(load)(g->theta + (j + q) * (inputs + 1) * VL);
        if (!by_sample) a[q] = N(keep)(kept[j + q], a[q]);
#pragma GCC unroll 4
        for (int k = 0; k <= inputs; k++) by[q][k] = N(splat)(0);
    }
    for (int64_t i = 0; i < g->n; i++) {
        const vec residual = N(load)(g->e + i * VL);
#pragma GCC unroll 2
        for (int q = 0; q < count; q++) {
            const int64_t at = ((j + q) * g->n + i) * VL;
            const vec h = N(load)(g->h + at);
            const vec e = with_r1 ? residual + g->r1 * a[q] * h : residual, eh = e * h;
            by[q][0] += eh;
            const N(kept) there = by_sample ? g->kept[i * 4 * g->blocks + j + q] : kept[j + q];
            vec d;
            if (activation == ACT_TANH) { /* e (1 - h²) from what is there already */
                d = e - eh * h;
                if (by_sample) d = N(keep)(there, d);
            } else { /* under either mask, lest a compiler joins product and sum for one of them alone */
                d = N(keep)(there, e * N(slope_of)(activation, h, g->slope + at));
            }
#pragma GCC unroll 4
            for (int k = 0; k < inputs; k++) {
                if (k == inputs - 1 && bias) by[q][k + 1] += d;
                else by[q][k + 1] += d * N(of_sample)(shared, g->x, i * inputs + k);
            }
        }
    }
#pragma GCC unroll 2
    for (int q = 0; q < count; q++) {
        if (!by_sample) by[q][0] = N(keep)(kept[j + q], by[q][0]);
#pragma GCC unroll 4
        for (int k = 0; k <= inputs; k++) {
            const int64_t at = ((j + q) * (inputs + 1) + k) * VL;
            const vec grad = k ? by[q][k] * a[q] : by[q][0];
            if (g->plain) size = N(descend_lanes)(g, at, grad, size);
            else size = N(update_lanes)(t, g, at, grad, size);
        }
    }
    return size;
}

INLINE vec N(backward_shape)(const int activation, const int inputs, const int bias, const int shared,
                             const int by_sample, const int with_r1, const simdrop_task *t, const N(group) * g,
                             const N(kept) * kept) {
    vec size = N(splat)(0);
    int64_t j = 0;
#define FEW(count) N(backward_few)(count, activation, inputs, bias, shared, by_sample, with_r1, t, g, kept, j, size)
    for (; j + 2 <= g->width; j += 2) size = FEW(2);
    if (j < g->width) size = FEW(1);
#undef FEW
    return size;
}

/* g of one neuron: the derivatives by w·x of all samples. `pull`: r1 |a|² of objective "risk+r1". */
INLINE void N(derivatives_general)(int activation, const N(group) * g, int64_t j, N(kept) kept, vec pull) {
    const REAL *p = g->theta + j * g->rows * VL;
    for (int64_t i = 0; i < g->n; i++) {
        const int64_t at = (j * g->n + i) * VL;
        const vec h = N(load)(g->h + at);
        vec sum = pull * h;
        for (int64_t o = 0; o < g->outputs; o++) {
            sum += N(load)(g->e + (i * g->outputs + o) * VL) * N(load)(p + o * VL);
        }
        const vec d = sum * N(slope_of)(activation, h, g->slope + at);
        N(store)(g->g + i * VL, N(keep)(g->by_sample ? g->kept[i * 4 * g->blocks + j] : kept, d));
    }
}

/* Any numbers of inputs and outputs. */
static vec N(backward_general_group)(const simdrop_task *t, const N(group) * g, const N(kept) * kept) {
    const int64_t c = g->outputs, D = g->inputs;
    const int with_r1 = t->objective == OBJECTIVE_RISK_R1;
    vec size = N(splat)(0);
    for (int64_t j = 0; j < g->width; j++) {
        const REAL *h = g->h + j * g->n * VL;
        int64_t at = j * g->rows * VL;
        vec weight = N(splat)(0), squares = N(splat)(0);
        for (int64_t o = 0; o < c && with_r1; o++) {
            weight += N(load)(g->theta + at + o * VL) * N(load)(g->theta + at + o * VL);
        }
        for (int64_t i = 0; i < g->n && with_r1; i++) squares += N(load)(h + i * VL) * N(load)(h + i * VL);
        N(derivatives_general)(t->activation, g, j, kept[j], g->r1 * weight);
        for (int64_t o = 0; o < c; o++, at += VL) {
            vec sum = N(splat)(0);
            for (int64_t i = 0; i < g->n; i++) sum += N(load)(g->e + (i * c + o) * VL) * N(load)(h + i * VL);
            if (with_r1) sum += g->r1 * N(load)(g->theta + at) * squares;
            if (!g->by_sample) sum = N(keep)(kept[j], sum);
            size = N(update_lanes)(t, g, at, sum, size);
        }
        for (int64_t k = 0; k < D; k++, at += VL) {
            vec sum = N(splat)(0);
            if (g->shared) {
                for (int64_t i = 0; i < g->n; i++) sum += N(load)(g->g + i * VL) * g->x[i * D + k];
            } else {
                for (int64_t i = 0; i < g->n; i++) sum += N(load)(g->g + i * VL) * N(load)(g->x + (i * D + k) * VL);
            }
            size = N(update_lanes)(t, g, at, sum, size);
        }
    }
    return size;
}

#define CALL(inputs_, bias_, shared_, by_sample_, with_r1_)                                              \
    return N(backward_shape)(activation, inputs_, bias_, shared_, by_sample_, with_r1_, t, g, kept)
#define SHAPE(inputs_, bias_)                                                                            \
    if (IS_SHAPE(inputs_, bias_)) {                                                                      \
        if (t->objective == OBJECTIVE_RISK_R1 && g->shared) CALL(inputs_, bias_, 1, 0, 1);               \
        if (t->objective == OBJECTIVE_RISK_R1) CALL(inputs_, bias_, 0, 0, 1);                            \
        if (g->shared && g->by_sample) CALL(inputs_, bias_, 1, 1, 0);                                    \
        if (g->shared) CALL(inputs_, bias_, 1, 0, 0);                                                    \
        if (g->by_sample) CALL(inputs_, bias_, 0, 1, 0);                                                 \
        CALL(inputs_, bias_, 0, 0, 0);                                                                   \
    }
#define CASE(name, act)                                                                                  \
    static vec N(backward_##name)(const simdrop_task *t, const N(group) * g, const N(kept) * kept) {     \
        const int activation = act;                                                                      \
        SHAPES(SHAPE)                                                                                    \
        return N(splat)(0); /* no other shape reaches this */                                            \
    }
CASE(tanh, ACT_TANH) CASE(other, t->activation)
#undef CASE
#undef SHAPE
#undef CALL
#undef IS_SHAPE
#undef SHAPES

/* Gradients and updates of one step; a sum that is not finite in lanes where a member may have diverged. */
static vec N(backward_group)(const simdrop_task *t, const N(group) * g, const N(kept) * kept) {
    if (!N(has_shape)(g)) return N(backward_general_group)(t, g, kept);
    return t->activation == ACT_TANH ? N(backward_tanh)(t, g, kept) : N(backward_other)(t, g, kept);
}
