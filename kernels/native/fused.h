/* One gradient for one output and one or two inputs besides a bias, per dtype, with everything between the
   parameters and the gradient in registers but h. Legend as in general.h.

   `activation`, `inputs`, `bias` and `masked` are constants where these functions are inlined. */

/* `count` samples from number i: each load of a neuron's weights feeds as many independent chains. */
INLINE void N(forward_samples)(const int count, const int activation, const int inputs, const int bias,
                               const int masked, const N(space) * s, const REAL *p, int64_t vectors, int64_t i) {
    vec sum[4];
    for (int q = 0; q < count; q++) sum[q] = N(splat)(0);
    const REAL *x = s->x + i * inputs;
    for (int64_t v = 0; v < vectors; v++) {
        const vec a = N(load)(p + v * VL);
        vec w[3];
        for (int k = 0; k < inputs; k++) w[k] = N(load)(p + (k + 1) * s->row + v * VL);
#pragma GCC unroll 4
        for (int q = 0; q < count; q++) {
            vec h, z = bias ? w[inputs - 1] : w[inputs - 1] * x[q * inputs + inputs - 1];
            for (int k = 0; k < inputs - 1; k++) z += w[k] * x[q * inputs + k];
            N(activate_at)(activation, masked, s, v, i + q, z, &h);
            sum[q] += a * h;
        }
    }
    for (int q = 0; q < count; q++) N(store)(s->sums + (i + q) * VL, sum[q]);
}

INLINE void N(forward_fused)(const int activation, const int inputs, const int bias, const int masked,
                             const N(space) * s, const REAL *p, int64_t vectors) {
    int64_t i = 0;
    for (; i + 4 <= s->n; i += 4) N(forward_samples)(4, activation, inputs, bias, masked, s, p, vectors, i);
    for (; i < s->n; i++) N(forward_samples)(1, activation, inputs, bias, masked, s, p, vectors, i);
}

INLINE void N(backward_fused)(const int activation, const int inputs, const int bias, const int masked,
                              const int with_r1, const N(space) * s, const REAL *p, int64_t vectors, REAL r1) {
    for (int64_t v = 0; v < vectors; v++) {
        const REAL *h = s->h + v * s->depth * VL, *slope = s->slope + v * s->depth * VL;
        const vec a = N(load)(p + v * VL), pull = r1 * a;
        vec by_a = N(splat)(0), by_w[3] = {N(splat)(0), N(splat)(0), N(splat)(0)};
#pragma GCC unroll 4
        for (int64_t i = 0; i < s->n; i++) {
            const vec hi = N(load)(h + i * VL);
            vec e = N(splat)(s->e[i]);
            if (with_r1) e += pull * hi;
            const vec eh = e * hi;
            by_a += eh;
            /* for tanh e (1 - h²) from what is there already, with one addition more and one product less */
            vec g = activation == ACT_TANH ? e - eh * hi : e * N(slope_of)(activation, hi, slope + i * VL);
            if (masked) g = N(keep_lanes)(N(bits_of)(s->bits + i * s->words, v), g);
            for (int k = 0; k < inputs; k++) {
                if (k == inputs - 1 && bias) by_w[k] += g;
                else by_w[k] += g * s->x[i * inputs + k];
            }
        }
        N(store)(s->grad + v * VL, by_a);
        for (int k = 0; k < inputs; k++) N(store)(s->grad + (k + 1) * s->row + v * VL, by_w[k] * a);
    }
}

/* The shapes that have fused code: inputs and whether the last one is the bias. */
#define SHAPES(X) X(1, 0) X(2, 0) X(2, 1) X(3, 1)

static int N(has_fused)(const N(space) * s) {
#define SHAPE(inputs_, bias_) (s->inputs == inputs_ && s->bias == bias_) ||
    return s->outputs == 1 && (SHAPES(SHAPE) 0);
#undef SHAPE
}

#define SHAPE(inputs_, bias_)                                                                            \
    if (s->inputs == inputs_ && s->bias == bias_) {                                                      \
        if (masked) N(forward_fused)(activation, inputs_, bias_, 1, s, p, vectors);                      \
        else N(forward_fused)(activation, inputs_, bias_, 0, s, p, vectors);                             \
    }
#define CASE(act)                                                                                        \
    static void N(forward_##act)(int masked, const N(space) * s, const REAL *p, int64_t vectors) {       \
        const int activation = act;                                                                      \
        SHAPES(SHAPE)                                                                                    \
    }
CASE(ACT_TANH) CASE(ACT_RELU) CASE(ACT_SIGMOID) CASE(ACT_SOFTPLUS) CASE(ACT_GELU) CASE(ACT_ERF) CASE(ACT_SIN)
CASE(ACT_LINEAR) CASE(ACT_QUADRATIC)
#undef CASE
#undef SHAPE

#define SHAPE(inputs_, bias_)                                                                            \
    if (s->inputs == inputs_ && s->bias == bias_) {                                                      \
        if (masked) N(backward_fused)(activation, inputs_, bias_, 1, 0, s, p, vectors, r1);              \
        else if (r1 != 0) N(backward_fused)(activation, inputs_, bias_, 0, 1, s, p, vectors, r1);        \
        else N(backward_fused)(activation, inputs_, bias_, 0, 0, s, p, vectors, r1);                     \
    }
#define CASE(act)                                                                                        \
    static void N(backward_##act)(int masked, const N(space) * s, const REAL *p, int64_t vectors, REAL r1) { \
        const int activation = act;                                                                      \
        SHAPES(SHAPE)                                                                                    \
    }
CASE(ACT_TANH) CASE(ACT_RELU) CASE(ACT_SIGMOID) CASE(ACT_LINEAR) CASE(ACT_SOFTPLUS)
#undef CASE
#undef SHAPE
#undef SHAPES

/* h, d and the sums over each lane of a h, by the fastest code there is. */
static void N(forward)(int activation, int masked, const N(space) * s, const REAL *p, int64_t vectors) {
    if (!N(has_fused)(s)) {
        N(forward_general)(activation, masked, s, p, vectors);
        return;
    }
    switch (activation) {
#define CASE(act) case act: N(forward_##act)(masked, s, p, vectors); break;
    CASE(ACT_TANH) CASE(ACT_RELU) CASE(ACT_SIGMOID) CASE(ACT_SOFTPLUS) CASE(ACT_GELU) CASE(ACT_ERF) CASE(ACT_SIN)
    CASE(ACT_LINEAR) CASE(ACT_QUADRATIC)
#undef CASE
    default: break;
    }
}

/* The gradient of the neurons that are computed. */
static void N(backward)(int activation, int masked, const N(space) * s, const REAL *p, int64_t vectors, REAL r1) {
    if (!N(has_fused)(s)) {
        N(backward_general)(activation, masked, s, p, vectors, r1);
        return;
    }
    switch (activation) {
    case ACT_TANH: N(backward_ACT_TANH)(masked, s, p, vectors, r1); break;
    case ACT_RELU: N(backward_ACT_RELU)(masked, s, p, vectors, r1); break;
    case ACT_SIGMOID: N(backward_ACT_SIGMOID)(masked, s, p, vectors, r1); break;
    case ACT_LINEAR: N(backward_ACT_LINEAR)(masked, s, p, vectors, r1); break;
    default: N(backward_ACT_SOFTPLUS)(masked, s, p, vectors, r1); /* whichever keeps its slope */
    }
}
