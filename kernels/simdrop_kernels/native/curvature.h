/* The second derivatives of the activations, and rows of vectors of them, per dtype, after activation.h.

   Legend: z the argument, h = σ(z), d = σ'(z). */

INLINE vec N(curve_tanh)(vec z, vec h, vec d) { (void)z; return (REAL)-2 * h * d; }
INLINE vec N(curve_relu)(vec z, vec h, vec d) { (void)z, (void)h, (void)d; return N(splat)(0); }
INLINE vec N(curve_sigmoid)(vec z, vec h, vec d) { (void)z; return d * ((REAL)1 - (REAL)2 * h); }
INLINE vec N(curve_softplus)(vec z, vec h, vec d) { (void)z, (void)h; return d * ((REAL)1 - d); }
INLINE vec N(curve_gelu)(vec z, vec h, vec d) {
    (void)h, (void)d;
    const vec fall = N(gauss)(N(least)(N(splat)(GAUSS_END), N(magnitude)(z)), (REAL)0.5);
    return ((REAL)2 - z * z) * (REAL)0.39894228040143267794 * fall;
}
INLINE vec N(curve_erf)(vec z, vec h, vec d) { (void)h; return (REAL)-2 * z * d; }
INLINE vec N(curve_sin)(vec z, vec h, vec d) { (void)z, (void)d; return -h; }
INLINE vec N(curve_linear)(vec z, vec h, vec d) { (void)z, (void)h, (void)d; return N(splat)(0); }
INLINE vec N(curve_quadratic)(vec z, vec h, vec d) { (void)z, (void)h, (void)d; return N(splat)(1); }

/* σ, σ' and, where h2 is given, σ'' of `count` vectors of arguments, which stand where σ goes. */
static void N(activate_row)(int activation, int64_t count, vec *h, vec *h1, vec *h2) {
    switch (activation) {
#define CASE(NUMBER, name)                                                                               \
    case ACT_##NUMBER:                                                                                   \
        for (int64_t i = 0; i < count; i++) {                                                            \
            const vec z = h[i];                                                                          \
            N(act_##name)(z, &h[i], &h1[i]);                                                             \
            if (h2 != NULL) h2[i] = N(curve_##name)(z, h[i], h1[i]);                                     \
        }                                                                                                \
        break;
        SIMDROP_ACTIVATIONS(CASE)
#undef CASE
    default: break;
    }
}
#undef GAUSS_END
