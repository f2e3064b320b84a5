/* One gradient for one output and one or two inputs besides a bias, per dtype, with everything between the
   parameters and the gradient in registers but h. Legend as in general.h.

   `activation`, `inputs`, `bias` and `masked` are constants where these functions are inlined. */

/* `count` samples from number i: each load of a neuron's weights feeds as many independent chains. */
INLINE void N(forward_samples)(const int count, const int activation, const int inputs, const int bias,
                               const int masked, const N(space) * s, const REAL *p, int64_t vectors, int64_t i) {
    vec sum[4];
#pragma GCC unroll 4
    for (int q = 0; q < count; q++) sum[q] = N(splat)(0);
    const REAL *x = s->x + i * inputs;
    for (int64_t v = 0; v < vectors; v++) {
        const vec a = N(load)(p + v * VL);
        vec w[3];
#pragma GCC unroll 4
        for (int k = 0; k < inputs; k++) w[k] = N(load)(p + (k + 1) * s->row + v * VL);
#pragma GCC unroll 4
        for (int q = 0; q < count; q++) {
            vec h, z = bias ? w[inputs - 1] : w[inputs - 1] * x[q * inputs + inputs - 1];
#pragma GCC unroll 4
            for (int k = 0; k < inputs - 1; k++) z += w[k] * x[q * inputs + k];
            N(activate_at)(activation, masked, s, v, i + q, z, &h);
            sum[q] += a * h;
        }
    }
#pragma GCC unroll 4
    for (int q = 0; q < count; q++) N(store)(s->sums + (i + q) * VL, sum[q]);
}

INLINE void N(forward_fused)(const int activation, const int inputs, const int bias, const int masked,
                             const N(space) * s, const REAL *p, int64_t vectors) {
    int64_t i = 0;
    for (; i + 4 <= s->n; i += 4) N(forward_samples)(4, activation, inputs, bias, masked, s, p, vectors, i);
    for (; i < s->n; i++) N(forward_samples)(1, activation, inputs, bias, masked, s, p, vectors, i);
}

/* The gradient of one or two panels side by side, which share the loads of what all neurons see. */
INLINE void N(backward_panels)(const int panels, const int activation, const int inputs, const int bias,
                               const int masked, const int with_r1, const N(space) * s, const REAL *p, int64_t v,
                               REAL r1) {
    vec a[2], by_a[2], by_w[2][3];
#pragma GCC unroll 2
    for (int q = 0; q < panels; q++) {
        a[q] = N(load)(p + (v + q) * VL);
        by_a[q] = N(splat)(0);
#pragma GCC unroll 4
        for (int k = 0; k < inputs; k++) by_w[q][k] = N(splat)(0);
    }
    for (int64_t i = 0; i < s->n; i++) {
        const vec residual = N(splat)(s->e[i]);
#pragma GCC unroll 2
        for (int q = 0; q < panels; q++) {
            const int64_t at = ((v + q) * s->depth + i) * VL;
            const vec h = N(load)(s->h + at);
            const vec e = with_r1 ? residual + r1 * a[q] * h : residual, eh = e * h;
            by_a[q] += eh;
            /* for tanh e (1 - h²) from what is there already, with one addition more and one product less */
            vec g = activation == ACT_TANH ? e - eh * h : e * N(slope_of)(activation, h, s->slope + at);
            if (masked) g = N(keep_lanes)(N(bits_of)(s->bits + i * s->words, v + q), g);
#pragma GCC unroll 4
            for (int k = 0; k < inputs; k++) {
                if (k == inputs - 1 && bias) by_w[q][k] += g;
                else by_w[q][k] += g * s->x[i * inputs + k];
            }
        }
    }
#pragma GCC unroll 2
    for (int q = 0; q < panels; q++) {
        N(store)(s->grad + (v + q) * VL, by_a[q]);
#pragma GCC unroll 4
        for (int k = 0; k < inputs; k++) N(store)(s->grad + (k + 1) * s->row + (v + q) * VL, by_w[q][k] * a[q]);
    }
}

INLINE void N(backward_fused)(const int activation, const int inputs, const int bias, const int masked,
                              const int with_r1, const N(space) * s, const REAL *p, int64_t vectors, REAL r1) {
    int64_t v = 0;
    for (; v + 2 <= vectors; v += 2) {
        N(backward_panels)(2, activation, inputs, bias, masked, with_r1, s, p, v, r1);
    }
    if (v < vectors) N(backward_panels)(1, activation, inputs, bias, masked, with_r1, s, p, v, r1);
}

/* The shapes that have fused code: inputs and whether the last one is the bias. */
#define SHAPES(X) X(1, 0) X(2, 1) X(3, 1)

static int N(has_fused)(const N(space) * s) {
#define SHAPE(inputs_, bias_) (s->inputs == inputs_ && s->bias == bias_) ||
    return s->outputs == 1 && (SHAPES(SHAPE) 0);
#undef SHAPE
}

/* Short activations are worth code of their own; the others spend their time in the activation. */
static int N(has_fused_forward)(int activation, const N(space) * s) {
    return N(has_fused)(s) && (activation == ACT_TANH || activation == ACT_RELU);
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
CASE(ACT_TANH) CASE(ACT_RELU)
#undef CASE
#undef SHAPE

/* h, d and the sums over each lane of a h, by the fastest code there is. */
static void N(forward)(int activation, int masked, const N(space) * s, const REAL *p, int64_t vectors) {
    if (!N(has_fused_forward)(activation, s)) N(forward_general)(activation, masked, s, p, vectors);
    else if (activation == ACT_TANH) N(forward_ACT_TANH)(masked, s, p, vectors);
    else N(forward_ACT_RELU)(masked, s, p, vectors);
}

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
CASE(ACT_TANH) CASE(ACT_RELU) CASE(ACT_SIGMOID) CASE(ACT_SOFTPLUS)
#undef CASE
#undef SHAPE
#undef SHAPES

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
    default: N(backward_ACT_SOFTPLUS)(masked, s, p, vectors, r1); /* whichever keeps its slope */
    }
}
