/* Outputs and residuals of a group of members, per dtype. Legend as in group_space.h.

   `activation`, `inputs`, `bias`, `shared` and `by_sample` are constants where functions are inlined. */

INLINE vec N(keep)(N(kept) kept, vec v) {
#if defined(SIMDROP_AVX512)
    return (vec)MMR(maskz_mov)(kept, v);
#else
    return (vec)((ivec)v & kept);
#endif
}

/* v where kept, 0 v elsewhere: not 0 where v is not finite. */
INLINE vec N(drop)(N(kept) kept, vec v) {
#if defined(SIMDROP_AVX512)
    return (vec)MMR(mask_mul)(v, (N(bitmask))~kept, v, N(splat)(0));
#else
    return v * (vec)((ivec)N(splat)(1) & kept);
#endif
}

/* Number q of the samples, which are one for all members or a vector. */
INLINE vec N(of_sample)(const int shared, const REAL *numbers, int64_t q) {
    return shared ? N(splat)(numbers[q]) : N(load)(numbers + q * VL);
}

/* The residual of an output f against its target. */
INLINE vec N(group_residual)(vec f, vec y) { return f - y; }

/* σ and its slope of neuron j and sample i, kept for the backward pass; returns h, 0 where the sample drops it. */
INLINE vec N(activate_group)(const int activation, const int by_sample, const N(group) * g, int64_t j, int64_t i,
                             vec z) {
    const int64_t at = (j * g->n + i) * VL;
    vec h, d;
    N(act)(activation, z, &h, &d);
    if (by_sample) h = N(drop)(g->kept[i * 4 * g->blocks + j], h);
    N(store)(g->h + at, h);
    if (N(keeps_slope)(activation)) N(store)(g->slope + at, d);
    return h;
}

/* `count` samples from number i of networks with one output, all in one pass. */
INLINE void N(forward_few)(const int count, const int activation, const int inputs, const int bias, const int shared,
                           const int by_sample, const N(group) * g, const N(kept) * kept, int64_t i) {
    vec sum[4];
    const REAL *p = g->theta;
#pragma GCC unroll 4
    for (int q = 0; q < count; q++) sum[q] = N(splat)(0);
    for (int64_t j = 0; j < g->width; j++, p += (inputs + 1) * VL) {
        const vec a = by_sample ? N(load)(p) : N(keep)(kept[j], N(load)(p));
        vec w[3];
#pragma GCC unroll 4
        for (int k = 0; k < inputs; k++) w[k] = N(load)(p + (k + 1) * VL);
#pragma GCC unroll 4
        for (int q = 0; q < count; q++) {
            const int64_t at = (i + q) * inputs;
            vec z = bias ? w[inputs - 1] : w[inputs - 1] * N(of_sample)(shared, g->x, at + inputs - 1);
#pragma GCC unroll 4
            for (int k = 0; k < inputs - 1; k++) z += w[k] * N(of_sample)(shared, g->x, at + k);
            sum[q] += a * N(activate_group)(activation, by_sample, g, j, i + q, z);
        }
    }
#pragma GCC unroll 4
    for (int q = 0; q < count; q++) {
        const vec y = N(of_sample)(shared, g->y, i + q);
        N(store)(g->e + (i + q) * VL, N(group_residual)(g->gain * sum[q], y) * g->scale);
    }
}

INLINE void N(forward_shape)(const int activation, const int inputs, const int bias, const int shared,
                             const int by_sample, const N(group) * g, const N(kept) * kept) {
    int64_t i = 0;
#define FEW(count) N(forward_few)(count, activation, inputs, bias, shared, by_sample, g, kept, i)
    for (; i + 4 <= g->n; i += 4) FEW(4);
    if (i + 2 <= g->n) FEW(2), i += 2;
    if (i < g->n) FEW(1);
#undef FEW
}

/* w·x of all neurons and samples, in the place of h. */
INLINE void N(products)(const int shared, const N(group) * g) {
    for (int64_t j = 0; j < g->width; j++) {
        const REAL *w = g->theta + (j * g->rows + g->outputs) * VL;
        REAL *h = g->h + j * g->n * VL;
        for (int64_t i = 0; i < g->n; i += 4) {
            const int64_t left = g->n - i;
            vec z[4];
            for (int64_t q = 0; q < 4; q++) z[q] = N(splat)(0);
            for (int64_t k = 0; k < g->inputs; k++) {
                const vec wk = N(load)(w + k * VL);
#pragma GCC unroll 4
                for (int64_t q = 0; q < 4; q++) {
                    const int64_t sample = i + (q < left ? q : 0); /* the first of a last few several times */
                    z[q] += wk * N(of_sample)(shared, g->x, sample * g->inputs + k);
                }
            }
            for (int64_t q = 0; q < 4 && q < left; q++) N(store)(h + (i + q) * VL, z[q]);
        }
    }
}

/* w·x to h, and d where it is kept. */
INLINE void N(activate_all)(const int activation, const int by_sample, const N(group) * g) {
    for (int64_t j = 0; j < g->width; j++) {
        for (int64_t i = 0; i < g->n; i++) {
            N(activate_group)(activation, by_sample, g, j, i, N(load)(g->h + (j * g->n + i) * VL));
        }
    }
}

/* Residuals of all outputs from h. */
static void N(outputs_general)(const N(group) * g, const N(kept) * kept) {
    const int64_t c = g->outputs;
    for (int64_t o = 0; o < c; o++) {
        for (int64_t i = 0; i < g->n; i += 4) {
            const int64_t left = g->n - i;
            vec sum[4];
            for (int64_t q = 0; q < 4; q++) sum[q] = N(splat)(0);
            for (int64_t j = 0; j < g->width; j++) {
                vec a = N(load)(g->theta + (j * g->rows + o) * VL);
                if (!g->by_sample) a = N(keep)(kept[j], a);
                const REAL *h = g->h + (j * g->n + i) * VL;
#pragma GCC unroll 4
                for (int64_t q = 0; q < 4; q++) sum[q] += a * N(load)(h + (q < left ? q : 0) * VL);
            }
            for (int64_t q = 0; q < 4 && q < left; q++) {
                const vec y = N(of_sample)(g->shared, g->y, (i + q) * c + o);
                N(store)(g->e + ((i + q) * c + o) * VL, N(group_residual)(g->gain * sum[q], y) * g->scale);
            }
        }
    }
}

/* The shapes of one output that have code of their own: inputs and whether the last one is the bias. */
#define SHAPES(X) X(1, 0) X(2, 1) X(3, 1)
#define IS_SHAPE(inputs_, bias_) (g->inputs == inputs_ && g->bias == bias_)

static int N(has_shape)(const N(group) * g) {
#define SHAPE(inputs_, bias_) IS_SHAPE(inputs_, bias_) ||
    return g->outputs == 1 && (SHAPES(SHAPE) 0);
#undef SHAPE
}

static void N(forward_tanh)(const N(group) * g, const N(kept) * kept) {
#define CALL(inputs_, bias_, shared_, by_sample_)                                                        \
    N(forward_shape)(ACT_TANH, inputs_, bias_, shared_, by_sample_, g, kept)
#define SHAPE(inputs_, bias_)                                                                            \
    if (IS_SHAPE(inputs_, bias_)) {                                                                      \
        if (g->shared && g->by_sample) CALL(inputs_, bias_, 1, 1);                                       \
        else if (g->shared) CALL(inputs_, bias_, 1, 0);                                                  \
        else if (g->by_sample) CALL(inputs_, bias_, 0, 1);                                               \
        else CALL(inputs_, bias_, 0, 0);                                                                 \
    }
    SHAPES(SHAPE)
#undef SHAPE
#undef CALL
}

static void N(activate_by_number)(int activation, const N(group) * g) {
    switch (activation) {
#define CASE(NUMBER, name)                                                                               \
    case ACT_##NUMBER:                                                                                   \
        if (g->by_sample) N(activate_all)(ACT_##NUMBER, 1, g);                                           \
        else N(activate_all)(ACT_##NUMBER, 0, g);                                                        \
        break;
    SIMDROP_ACTIVATIONS(CASE)
#undef CASE
    default: break;
    }
}

/* Residuals times everything that scales them, h and d, of a step whose masks are `kept`. */
static void N(forward_group)(int activation, const N(group) * g, const N(kept) * kept) {
    if (activation == ACT_TANH && N(has_shape)(g)) {
        N(forward_tanh)(g, kept);
        return;
    }
    if (g->shared) N(products)(1, g);
    else N(products)(0, g);
    N(activate_by_number)(activation, g);
    N(outputs_general)(g, kept);
}
