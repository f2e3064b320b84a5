/* The panels of h and of its slope, per dtype: what a step keeps between its forward and backward pass. */

/* Whether σ' is not a function of σ and is kept next to it. */
INLINE int N(keeps_slope)(int activation) {
    return activation != ACT_TANH && activation != ACT_RELU && activation != ACT_SIGMOID;
}

INLINE vec N(slope_of)(int activation, vec h, const REAL *slope) {
    switch (activation) {
    case ACT_TANH: return (REAL)1 - h * h;
    case ACT_RELU: return (vec)((ivec)N(splat)(1) & (ivec)(h > 0));
    case ACT_SIGMOID: return h - h * h;
    default: return N(load)(slope);
    }
}

INLINE void N(activate_at)(int activation, int masked, const N(space) * s, int64_t v, int64_t i, vec z, vec *h) {
    vec d;
    N(act)(activation, z, h, &d);
    if (masked) *h = N(drop_lanes)(N(bits_of)(s->bits + i * s->words, v), *h);
    N(store)(s->h + (v * s->depth + i) * VL, *h);
    if (N(keeps_slope)(activation)) N(store)(s->slope + (v * s->depth + i) * VL, d);
}

INLINE void N(activate_range)(const int activation, int masked, const N(space) * s, int64_t from, int64_t to) {
    vec h;
    for (int64_t v = from; v < to; v++) {
        for (int64_t i = 0; i < s->n; i++) {
            N(activate_at)(activation, masked, s, v, i, N(load)(s->h + (v * s->depth + i) * VL), &h);
        }
    }
}

/* In place: w·x to h. */
static void N(activate_panels)(int activation, int masked, const N(space) * s, int64_t from, int64_t to) {
    switch (activation) {
#define CASE(NUMBER, name) case ACT_##NUMBER: N(activate_range)(ACT_##NUMBER, masked, s, from, to); break;
    SIMDROP_ACTIVATIONS(CASE)
#undef CASE
    default: break;
    }
}
