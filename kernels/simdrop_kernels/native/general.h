/* One gradient for any numbers of inputs and outputs, per dtype, in stages: products, activation, products.

   Legend: f outputs, e residuals times everything that scales them, h = σ(w·x), d = σ'(w·x), g the
   derivative by w·x; p (R, row) the parameters of the neurons that are computed, `vectors` of them. */

/* h and d of all samples, and the sums over each lane of a h. */
static void N(forward_general)(int activation, int masked, const N(space) * s, const REAL *p, int64_t vectors) {
    for (int64_t v = 0; v < vectors; v += 2) {
        const int pair = v + 1 < vectors ? 2 : 1;
        const REAL *w = p + s->outputs * s->row + v * VL;
        for (int64_t k = 0; k < s->inputs; k++) {
            for (int q = 0; q < pair; q++) N(store)(s->panel + (2 * k + q) * VL, N(load)(w + k * s->row + q * VL));
        }
        REAL *const out[2] = {s->h + v * s->depth * VL, s->h + (v + pair - 1) * s->depth * VL};
        const REAL *const b[2] = {s->panel, s->panel + VL};
        N(multiply)(pair, s->n, s->inputs, s->x_rows, b, 2 * VL, out, VL);
        N(activate_panels)(activation, masked, s, v, v + pair);
    }
    for (int64_t o = 0; o < s->outputs; o++) {
        for (int64_t i = 0; i < s->n; i += 4) { /* h has room for whole fours */
            const REAL *a = p + o * s->row, *h = s->h + i * VL;
            vec sum[4] = {N(splat)(0), N(splat)(0), N(splat)(0), N(splat)(0)};
            for (int64_t v = 0; v < vectors; v++) {
#pragma GCC unroll 4
                for (int q = 0; q < 4; q++) sum[q] += N(load)(a + v * VL) * N(load)(h + (v * s->depth + q) * VL);
            }
            for (int q = 0; q < 4 && i + q < s->n; q++) N(store)(s->sums + ((i + q) * s->outputs + o) * VL, sum[q]);
        }
    }
}

/* grad by the output weights of panel v: Σ_i e_i h_i, four outputs at a time. */
INLINE void N(output_gradient)(const N(space) * s, int64_t v) {
    const REAL *h = s->h + v * s->depth * VL;
    const int64_t c = s->outputs;
    for (int64_t o = 0; o < c; o += 4) {
        const int64_t count = c - o < 4 ? c - o : 4;
        vec sum[4] = {N(splat)(0), N(splat)(0), N(splat)(0), N(splat)(0)};
        if (count == 4) {
            for (int64_t i = 0; i < s->n; i++) {
                const vec hi = N(load)(h + i * VL);
#pragma GCC unroll 4
                for (int q = 0; q < 4; q++) sum[q] += s->e[i * c + o + q] * hi;
            }
        } else {
            for (int64_t i = 0; i < s->n; i++) {
                const vec hi = N(load)(h + i * VL);
                for (int64_t q = 0; q < count; q++) sum[q] += s->e[i * c + o + q] * hi;
            }
        }
        for (int64_t q = 0; q < count; q++) N(store)(s->grad + (o + q) * s->row + v * VL, sum[q]);
    }
}

/* R_1: e becomes e + r1 a h for each neuron, so that r1 a Σ_i h_i² joins the gradient by a; returns r1 |a|². */
INLINE vec N(output_gradient_r1)(const N(space) * s, const REAL *p, int64_t v, REAL r1) {
    const REAL *h = s->h + v * s->depth * VL;
    vec squares = N(splat)(0), weight = N(splat)(0);
    for (int64_t i = 0; i < s->n; i++) squares += N(load)(h + i * VL) * N(load)(h + i * VL);
    for (int64_t o = 0; o < s->outputs; o++) {
        const vec a = N(load)(p + o * s->row + v * VL);
        REAL *grad = s->grad + o * s->row + v * VL;
        N(store)(grad, N(load)(grad) + r1 * a * squares);
        weight += a * a;
    }
    return r1 * weight;
}

/* The gradient of the neurons that are computed. */
static void N(backward_general)(int activation, int masked, const N(space) * s, const REAL *p, int64_t vectors,
                                REAL r1) {
    for (int64_t v = 0; v < vectors; v++) {
        REAL *h = s->h + v * s->depth * VL;
        const REAL *slope = s->slope + v * s->depth * VL;
        N(output_gradient)(s, v);
        const vec pull = r1 != 0 ? N(output_gradient_r1)(s, p, v, r1) : N(splat)(0);
        for (int64_t i = 0; i < s->n; i++) {
            const vec hi = N(load)(h + i * VL);
            vec g = pull * hi;
            for (int64_t o = 0; o < s->outputs; o++) g += s->e[i * s->outputs + o] * N(load)(p + o * s->row + v * VL);
            g *= N(slope_of)(activation, hi, slope + i * VL);
            if (masked) g = N(keep_lanes)(N(bits_of)(s->bits + i * s->words, v), g);
            N(store)(h + i * VL, g);
        }
    }
    for (int64_t v = 0; v < vectors; v += 2) {
        const int pair = v + 1 < vectors ? 2 : 1;
        const REAL *const b[2] = {s->h + v * s->depth * VL, s->h + (v + pair - 1) * s->depth * VL};
        REAL *grad = s->grad + s->outputs * s->row + v * VL;
        REAL *const out[2] = {grad, grad + (pair - 1) * VL};
        N(multiply)(pair, s->inputs, s->n, s->x_columns, b, VL, out, s->row);
    }
}
