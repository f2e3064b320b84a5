/* The activations over one vector, with their first and second derivatives; per dtype, after lanes.h.

   Values are within 4 ulp of the true ones over the whole range (tests/kernels/test_native_activations.py).
   Legend: z the argument, h = σ(z), d = σ'(z). */

/* ACT_TANH is the number of the activation that Python calls "tanh" and N(act_tanh) computes. */
#ifndef SIMDROP_ACTIVATIONS
#define SIMDROP_ACTIVATIONS(X)                                                                           \
    X(TANH, tanh)                                                                                        \
    X(RELU, relu)                                                                                        \
    X(SIGMOID, sigmoid)                                                                                  \
    X(SOFTPLUS, softplus)                                                                                \
    X(GELU, gelu)                                                                                        \
    X(ERF, erf)                                                                                          \
    X(SIN, sin)                                                                                          \
    X(LINEAR, linear)                                                                                    \
    X(QUADRATIC, quadratic)
#endif

#ifdef REAL_IS_FLOAT /* what follows is not for the module, which has no vectors */

#if REAL_IS_FLOAT
#define TANH_GRID 6291456.0f   /* 1.5 * 2^22: adding it rounds to halves */
#define EXP_LOW (-104.0f)       /* exp rounds to 0 below */
#define EXP_ROUND 12582912.0f   /* 1.5 * 2^23: adding it rounds to whole numbers */
#define EXP_ROUND_BITS 0x4B400000
#define EXPONENT_SHIFT 23
#define EXPONENT_BIAS 127
#define LOG2_HIGH 0.693359375f  /* log 2 with few bits, and the rest */
#define LOG2_LOW (-2.12194440e-4f)
#define GAUSS_END 14.5f         /* exp(-z²/2) rounds to 0 beyond */
#define HEAD_BITS ((int32_t)0xFFFFF000)
#else
#define TANH_GRID 6755399441055744.0 /* 1.5 * 2^52: adding it rounds to whole numbers */
#define EXP_LOW (-746.0)
#define EXP_ROUND 6755399441055744.0 /* 1.5 * 2^52 */
#define EXP_ROUND_BITS 0x4338000000000000
#define EXPONENT_SHIFT 52
#define EXPONENT_BIAS 1023
#define LOG2_HIGH 6.93147180369123816490e-1
#define LOG2_LOW 1.90821492927058770002e-10
#define GAUSS_END 38.7
#define HEAD_BITS ((int64_t)0xFFFFFFFFF8000000)
#endif

/* tanh(s + r) = (tanh s + tanh r) / (1 + tanh s tanh r) with s the nearest multiple of a step, and tanh r
   = r / (r coth r), whose denominator is a short polynomial. Half the multiplications of a rational function
   over the whole range; additions and lookups run in parallel to them. `step`: tanh s. */
INLINE vec N(tanh_of_sum)(vec step, vec r) {
    const vec rest = POLYNOMIAL(coth_p, r * r);
#if defined(__FMA__) || !defined(__SSE2__)
    return (step * rest + r) / (step * r + rest);
#else /* the same, with one rounding less where products are rounded by themselves */
    return step + ((REAL)1 - step * step) * r / (step * r + rest);
#endif
}

#if defined(SIMDROP_RECIPROCALS) && REAL_IS_FLOAT
/* For processors on which a division takes the places of six multiplications, whose results' last bits differ. The quotient
   is a reciprocal of 14 bits times the numerator, and once more times what that leaves of it: never beyond 1. The table
   has steps of 1 and both signs, so that bounding its index is all that is done to the argument beside reducing it; of -0
   the sign is lost. */
INLINE vec N(tanh_of)(vec z) {
    const vec r = (vec)_mm512_reduce_ps((__m512)z, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const vec bounded = (vec)_mm512_range_ps((__m512)z, (__m512)N(splat)(15), 2); /* the lesser size, with the sign of z */
    const vec low = N(load_loose)(tanh_whole_f32), high = N(load_loose)(tanh_whole_f32 + 16);
    const vec step = (vec)_mm512_permutex2var_ps((__m512)low, (__m512i)(bounded + EXP_ROUND), (__m512)high);
    const vec rest = POLYNOMIAL(coth_whole_p, r * r), over = step * rest + r, under = step * r + rest;
    const vec inverse = (vec)_mm512_rcp14_ps((__m512)under), near = over * inverse;
    return near + (over - under * near) * inverse;
}
#elif defined(SIMDROP_AVX512) && REAL_IS_FLOAT
/* One instruction reduces, and a table of 32 entries ends where tanh is 1: nothing is done to bound the argument. */
INLINE vec N(tanh_of)(vec z) {
    const vec size = N(magnitude)(z);
    const vec r = (vec)_mm512_reduce_ps((__m512)size, 1 << 4 | _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const vec shifted = N(least)(N(splat)(15.5f), size) + TANH_GRID;
    const vec low = N(load_loose)(tanh_steps_f32), high = N(load_loose)(tanh_steps_f32 + 16);
    const vec step = (vec)_mm512_permutex2var_ps((__m512)low, (__m512i)shifted, (__m512)high);
    return N(with_sign)(N(tanh_of_sum)(step, r), z);
}
#else
INLINE vec N(tanh_of)(vec z) {
#if REAL_IS_FLOAT
    const vec size = N(least)(N(splat)(8.6f), N(magnitude)(z));
    const vec shifted = N(least)(N(splat)(TANH_GRID + 7.5f), size + TANH_GRID);
    const vec r = size - (shifted - TANH_GRID);
#else
    const vec size = N(least)(N(splat)(19.1), N(magnitude)(z));
    const vec shifted = N(least)(N(splat)(TANH_GRID + 15), size * 0.8 + TANH_GRID);
    const vec r = size - (shifted - TANH_GRID) * 1.25;
#endif
    return N(with_sign)(N(tanh_of_sum)(N(lookup)(N(tanh_steps), (ivec)shifted), r), z);
}
#endif

INLINE void N(act_tanh)(vec z, vec *h, vec *d) {
    *h = N(tanh_of)(z);
    *d = (REAL)1 - *h * *h;
}

INLINE void N(act_relu)(vec z, vec *h, vec *d) {
    *h = N(most)(N(splat)(0), z);
    *d = (vec)((ivec)N(splat)(1) & (ivec)(z > 0));
}

INLINE void N(act_linear)(vec z, vec *h, vec *d) {
    *h = z;
    *d = N(splat)(1);
}

INLINE void N(act_quadratic)(vec z, vec *h, vec *d) {
    *h = z * z * (REAL)0.5;
    *d = z;
}

/* 2^k for whole k that may reach below the least exponent, as two factors. */
INLINE vec N(times_power)(vec v, ivec k) {
    const ivec half = k >> 1, rest = k - half;
    return v * (vec)((half + EXPONENT_BIAS) << EXPONENT_SHIFT) * (vec)((rest + EXPONENT_BIAS) << EXPONENT_SHIFT);
}

/* exp(x + tail) for x <= 0 and a tail that is small against 1. */
INLINE vec N(exp_below)(vec x, vec tail) {
    x = N(most)(N(splat)(EXP_LOW), x);
    const vec shifted = x * (REAL)1.44269504088896340736 + EXP_ROUND;
    const ivec k = (ivec)shifted - EXP_ROUND_BITS;
    const vec whole = shifted - EXP_ROUND;
    const vec r = (x - whole * LOG2_HIGH) - whole * LOG2_LOW + tail;
    const vec e = (REAL)1 + (r + r * r * POLYNOMIAL(exp_p, r));
    return N(times_power)(e, k);
}

/* exp(-z² scale) for z >= 0, scale 1 or 1/2: the square is split so that no bit of it is lost. */
INLINE vec N(gauss)(vec z, REAL scale) {
    const vec head = (vec)((ivec)z & HEAD_BITS);
    return N(exp_below)(-scale * (head * head), -scale * ((z - head) * (z + head)));
}

/* exp(x²) erfc(x) for x >= 0. */
INLINE vec N(scaled_erfc)(vec x) {
    const REAL center = N(erfcx_center)[0];
    return POLYNOMIAL(erfcx_p, (x - center) / (x + center)) / (x + center); /* a reciprocal would cost two roundings */
}

INLINE void N(act_sigmoid)(vec z, vec *h, vec *d) {
    const vec e = N(exp_below)(-N(magnitude)(z), N(splat)(0)), large = (REAL)1 / ((REAL)1 + e), small = e * large;
    const ivec negative = (ivec)(z < 0);
    *h = N(select)(negative, small, large);
    *d = *h * N(select)(negative, large, small);
}

INLINE void N(act_softplus)(vec z, vec *h, vec *d) {
    const vec e = N(exp_below)(-N(magnitude)(z), N(splat)(0));
    const vec s = e / ((REAL)2 + e), u = s * s; /* log(1 + e) = 2 atanh(s) */
    const vec log1p = (REAL)2 * (s + s * u * POLYNOMIAL(atanh_p, u));
    const vec large = (REAL)1 / ((REAL)1 + e);
    *h = N(most)(N(splat)(0), z) + log1p;
    *d = N(select)((ivec)(z < 0), e * large, large);
}

INLINE void N(act_erf)(vec z, vec *h, vec *d) {
    const vec size = N(magnitude)(z), near = N(least)(N(splat)(GAUSS_END), size);
    const vec fall = N(gauss)(near, 1);
    const vec far = N(with_sign)((REAL)1 - fall * N(scaled_erfc)(near), z);
    *h = N(select)((ivec)(size < (REAL)1), z * POLYNOMIAL(erf_p, z * z), far);
    *d = (REAL)1.12837916709551257390 * fall;
}

INLINE void N(act_gelu)(vec z, vec *h, vec *d) {
    const vec size = N(least)(N(splat)(GAUSS_END), N(magnitude)(z)), x = size * (REAL)0.70710678118654752440;
    const vec fall = N(gauss)(size, (REAL)0.5);
    const vec ratio = (REAL)0.5 * N(scaled_erfc)(x); /* Φ(-|z|) = ratio fall */
    const vec middle = (REAL)0.5 - (REAL)0.5 * x * POLYNOMIAL(erf_p, x * x); /* the same near 0, with less rounding */
    const ivec near = (ivec)(size < (REAL)0.7), negative = (ivec)(z < 0);
    /* in the tail, the factors that do not underflow are joined first */
    const vec below = N(select)(near, -size * middle, (-size * ratio) * fall);
    const vec above = z * ((REAL)1 - N(select)(near, middle, ratio * fall));
    const vec tail = fall * (ratio - size * (REAL)0.39894228040143267794);
    *h = N(select)(negative, below, above);
    *d = N(select)(negative, tail, (REAL)1 - tail);
}

#include "sine.h"

/* Second derivatives, for the drift of stochastic equations. */

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

INLINE void N(act)(int activation, vec z, vec *h, vec *d) {
    switch (activation) {
#define CASE(NUMBER, name) case ACT_##NUMBER: N(act_##name)(z, h, d); break;
    SIMDROP_ACTIVATIONS(CASE)
#undef CASE
    default: *h = *d = z; /* no such number reaches this */
    }
}

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

#undef TANH_GRID
#undef EXP_LOW
#undef EXP_ROUND
#undef EXP_ROUND_BITS
#undef EXPONENT_SHIFT
#undef EXPONENT_BIAS
#undef LOG2_HIGH
#undef LOG2_LOW
#undef HEAD_BITS
#undef GAUSS_END
#endif
