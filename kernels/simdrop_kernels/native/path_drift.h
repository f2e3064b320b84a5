/* The drift of VL paths: forward pass, gradient of L = R_S + R_1, and its derivative along itself, per dtype.

   The formulas are those of mathematics/network/forward.py; legend in path_space.h. */

/* Σ_d x_d w_d of one sample and neuron. */
INLINE vec N(mix_inputs)(const vec *w, const REAL *x, int64_t D) {
    vec z = w[0] * x[0];
    for (int64_t d = 1; d < D; d++) z += w[d] * x[d];
    return z;
}

/* Σ_d x_id w_d of all samples. */
INLINE void N(mix_samples)(const N(paths) * s, const vec *w, vec *z) {
    if (s->D == 2) {
        for (int64_t i = 0; i < s->n; i++) z[i] = w[0] * s->x[2 * i] + w[1] * s->x[2 * i + 1];
    } else {
        for (int64_t i = 0; i < s->n; i++) z[i] = N(mix_inputs)(w, s->x + i * s->D, s->D);
    }
}

/* h, σ', where it `bends` σ'', b and e at a point. */
static void N(forward_paths)(const N(paths) * s, const vec *point, int bends) {
    const REAL scale = (REAL)s->t->output_scale;
    for (int64_t r = 0; r < s->rows; r++) s->e[r] = N(splat)(-s->y[r]);
    for (int64_t j = 0; j < s->m; j++) {
        vec *h = s->h + j * s->n;
        N(mix_samples)(s, point + s->c * s->m + j * s->D, h);
        N(activate_row)(s->t->activation, s->n, h, s->h1 + j * s->n, bends ? s->h2 + j * s->n : NULL);
        for (int64_t o = 0; o < s->c; o++) {
            const vec b = s->b[o * s->m + j] = scale * point[o * s->m + j];
            for (int64_t i = 0; i < s->n; i++) s->e[i * s->c + o] += b * h[i];
        }
    }
}

/* What the derivatives by_z by the arguments of neuron j are by its input weights. */
INLINE void N(put_inputs)(const N(paths) * s, vec *gradient, int64_t j) {
    const REAL share = (REAL)1 / (REAL)s->n;
    vec *w = gradient + s->c * s->m + j * s->D;
    int64_t d = 0;
    for (; d + 2 <= s->D; d += 2) {
        vec first = N(splat)(0), second = first;
        const REAL *x = s->x + d;
        for (int64_t i = 0; i < s->n; i++, x += s->D) first += x[0] * s->by_z[i], second += x[1] * s->by_z[i];
        w[d] = share * first, w[d + 1] = share * second;
    }
    if (d < s->D) {
        vec only = N(splat)(0);
        for (int64_t i = 0; i < s->n; i++) only += s->x[i * s->D + d] * s->by_z[i];
        w[d] = share * only;
    }
}

/* Zeros for the weights that are not trained. */
INLINE void N(freeze)(const N(paths) * s, vec *gradient) {
    const int64_t cut = s->c * s->m;
    const int64_t from = s->t->train == TRAIN_OUTPUT ? cut : 0;
    const int64_t end = s->t->train == TRAIN_OUTPUT ? s->params : s->t->train == TRAIN_INPUT ? cut : 0;
    for (int64_t p = from; p < end; p++) gradient[p] = N(splat)(0);
}

/* The gradient of L. */
static void N(mean_gradient)(const N(paths) * s, vec *gradient) {
    const vec v = s->factor[FACTOR_VARIANCE];
    const REAL by_a = (REAL)s->t->output_scale / (REAL)s->n;
    for (int64_t j = 0; j < s->m; j++) {
        const vec *h = s->h + j * s->n, *h1 = s->h1 + j * s->n;
        for (int64_t o = 0; o < s->c; o++) {
            const vec b = s->b[o * s->m + j], vb = v * b;
            vec sum = N(splat)(0);
            for (int64_t i = 0; i < s->n; i++) {
                const vec r = s->e[i * s->c + o] + vb * h[i], through = r * b;
                sum += r * h[i];
                s->by_z[i] = o ? s->by_z[i] + through : through;
            }
            gradient[o * s->m + j] = by_a * sum;
        }
        for (int64_t i = 0; i < s->n; i++) s->by_z[i] *= h1[i];
        N(put_inputs)(s, gradient, j);
    }
    N(freeze)(s, gradient);
}

/* The derivative of what `forward_paths` left along `gradient`: dh, db, de; and σ'' dz in the place of σ''. */
static void N(forward_along)(const N(paths) * s, const vec *gradient) {
    const REAL scale = (REAL)s->t->output_scale;
    for (int64_t r = 0; r < s->rows; r++) s->de[r] = N(splat)(0);
    for (int64_t j = 0; j < s->m; j++) {
        const vec *h = s->h + j * s->n, *h1 = s->h1 + j * s->n;
        vec *h2 = s->h2 + j * s->n, *dh = s->dh + j * s->n;
        N(mix_samples)(s, gradient + s->c * s->m + j * s->D, dh);
        for (int64_t i = 0; i < s->n; i++) {
            const vec dz = dh[i];
            h2[i] *= dz;
            dh[i] = h1[i] * dz;
        }
        for (int64_t o = 0; o < s->c; o++) {
            const vec b = s->b[o * s->m + j], db = s->db[o * s->m + j] = scale * gradient[o * s->m + j];
            for (int64_t i = 0; i < s->n; i++) s->de[i * s->c + o] += dh[i] * b + h[i] * db;
        }
    }
}

/* H ∇L, the derivative of the gradient of L along `gradient`, itself. */
static void N(bent_gradient)(const N(paths) * s, const vec *gradient, vec *bent) {
    const vec v = s->factor[FACTOR_VARIANCE];
    const REAL by_a = (REAL)s->t->output_scale / (REAL)s->n;
    N(forward_along)(s, gradient);
    for (int64_t j = 0; j < s->m; j++) {
        const vec *h = s->h + j * s->n, *h1 = s->h1 + j * s->n, *h2 = s->h2 + j * s->n, *dh = s->dh + j * s->n;
        for (int64_t o = 0; o < s->c; o++) {
            const vec b = s->b[o * s->m + j], db = s->db[o * s->m + j];
            vec sum = N(splat)(0);
            for (int64_t i = 0; i < s->n; i++) {
                const vec bh = b * h[i], e = s->e[i * s->c + o], de = s->de[i * s->c + o];
                const vec r = e + v * bh, dr = de + v * (db * h[i] + b * dh[i]);
                const vec through = (dr * b + r * db) * h1[i] + r * b * h2[i];
                sum += dr * h[i] + r * dh[i];
                s->by_z[i] = o ? s->by_z[i] + through : through;
            }
            bent[o * s->m + j] = by_a * sum;
        }
        N(put_inputs)(s, bent, j);
    }
    N(freeze)(s, bent);
}

/* k: -∇L or -∇(L + (lr/4) |∇L|²). */
static void N(fill_drift)(const N(paths) * s) {
    N(mean_gradient)(s, s->gradient);
    if (s->t->order == 1) {
        for (int64_t p = 0; p < s->params; p++) s->drift[p] = -s->gradient[p];
        return;
    }
    N(bent_gradient)(s, s->gradient, s->drift);
    for (int64_t p = 0; p < s->params; p++) s->drift[p] = -s->gradient[p] - s->half_lr * s->drift[p];
}
