/* The noise of VL paths by normal numbers, per dtype: formulas, symbols and the order of the numbers are those of
   contract/equation.py; legend in path_space.h. */

#define ROLE_MASK (UINT32_C(0) << 28)
#define ROLE_LABEL (UINT32_C(1) << 28)
#define ROLE_PARAMETER (UINT32_C(2) << 28)
#define ROLE_BATCH (UINT32_C(3) << 28)
#define STREAM_SDE UINT32_C(8)

#define SINGULAR ((REAL)8) /* as in contract/equation.py */
#define EPSILON (REAL_IS_FLOAT ? (REAL)FLT_EPSILON : (REAL)DBL_EPSILON)

/* distances between neurons that are worked on together, so that their numbers stay in the nearest cache */
#define DISTANCES_AT_ONCE 8

INLINE void N(draw_row)(N(paths) * s, vec *z, int64_t count, uint32_t row, uint32_t step) {
    const int64_t joined = s->t->joined;
    lane_place at = {STREAM_SDE, row, (uint32_t)(step * joined), s->t->seed};
    N(lane_normals)(s, z, count, &at);
    if (joined == 1) return;
    for (int64_t k = 1; k < joined; k++) {
        at.step++;
        N(lane_normals)(s, s->further, count, &at);
        for (int64_t q = 0; q < count; q++) z[q] += s->further[q];
    }
    const REAL share = (REAL)(1 / sqrt((double)joined));
    for (int64_t q = 0; q < count; q++) z[q] *= share;
}

/* Adds to T of neuron k and `rows` rows what pairs first, ..., last - 1 neurons apart bring. */
INLINE void N(pair_tile)(const int rows, const N(paths) * s, int64_t row, int64_t k, int64_t first, int64_t last) {
    const int64_t m = s->m, pitch = s->rows;
    vec *t = s->tail + k * pitch + row, sum[4];
    const vec *u = s->u + row;
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) sum[r] = t[r];
    for (int64_t apart = first; apart < last; apart++) {
        const int64_t after = k + apart < m ? k + apart : k + apart - m, before = k < apart ? k - apart + m : k - apart;
        const vec ahead = s->z[apart * m + k], behind = s->z[apart * m + before];
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) sum[r] += ahead * u[after * pitch + r];
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) sum[r] += behind * u[before * pitch + r];
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) t[r] = sum[r];
}

/* The same for all rows of a group. */
INLINE void N(pair_rows)(const N(paths) * s, int64_t row, int64_t end, int64_t k, int64_t first, int64_t last) {
    for (; row + 4 <= end; row += 4) N(pair_tile)(4, s, row, k, first, last);
    switch (end - row) {
    case 1: N(pair_tile)(1, s, row, k, first, last); break;
    case 2: N(pair_tile)(2, s, row, k, first, last); break;
    case 3: N(pair_tile)(3, s, row, k, first, last); break;
    default: break;
    }
}

/* Fills T of the rows row, ..., end - 1 with Σ_{k≠j} ξ_jk u_ρk. */
static void N(pairs_by_distance)(const N(paths) * s, int64_t row, int64_t end) {
    const int64_t m = s->m, half = m / 2, whole = (m + 1) / 2; /* where m is even the farthest are met once */
    for (int64_t k = 0; k < m; k++) {
        for (int64_t r = row; r < end; r++) s->tail[k * s->rows + r] = N(splat)(0);
    }
    for (int64_t first = 1; first < whole; first += DISTANCES_AT_ONCE) {
        const int64_t last = first + DISTANCES_AT_ONCE < whole ? first + DISTANCES_AT_ONCE : whole;
        for (int64_t k = 0; k < m; k++) N(pair_rows)(s, row, end, k, first, last);
    }
    for (int64_t k = 0; k < m && m % 2 == 0; k++) {
        const vec xi = s->z[half * m + k % half];
        const int64_t other = k < half ? k + half : k - half;
        for (int64_t r = row; r < end; r++) s->tail[k * s->rows + r] += xi * s->u[other * s->rows + r];
    }
}

/* Fills T of one row by itself with z, from ζ_k and ζ_0. */
static void N(pairs_of_a_row)(const N(paths) * s, int64_t row, const vec *zeta) {
    const int64_t m = s->m, pitch = s->rows;
    const vec *u = s->u + row, common = zeta[m];
    vec *t = s->tail + row, size = N(splat)(0), most = N(splat)(-1);
    vec u_most = size, zeta_most = size;
    ivec largest = (ivec)size;
    for (int64_t j = 0; j < m; j++) {
        const vec here = u[j * pitch];
        const ivec larger = (ivec)(N(magnitude)(here) > most);
        size += here * here;
        most = N(select)(larger, N(magnitude)(here), most);
        u_most = N(select)(larger, here, u_most);
        zeta_most = N(select)(larger, zeta[j], zeta_most);
        largest = (larger & (LANE_INT)j) | (largest & ~larger);
    }
    const vec left = size - (REAL)2 * u_most * u_most, zero = N(splat)(0);
    const ivec negative = (ivec)(left < 0);
    const vec least = N(select)(negative, EPSILON * size, N(splat)(1));
    vec r = zero, given = zero;
    for (int64_t j = 0; j < m; j++) {
        const vec here = u[j * pitch], d = size - (REAL)2 * here * here;
        const vec z = N(root)(N(most)(zero, d)) * zeta[j] + here * common;
        const ivec other = negative & (ivec)(largest != (LANE_INT)j);
        const vec per_d = N(select)(other, here, zero) / N(most)(least, d);
        r += N(select)(other, here * per_d, zero);
        given += per_d * z;
        t[j * pitch] = z;
    }
    const vec rest = left + u_most * u_most / ((REAL)1 + r);
    const vec root = N(root)(N(select)((ivec)(rest > SINGULAR * EPSILON * size), rest, zero));
    const vec of_most = u_most * given / ((REAL)1 + r) + root * zeta_most;
    for (int64_t j = 0; j < m; j++) {
        const ivec replaced = negative & (ivec)(largest == (LANE_INT)j);
        t[j * pitch] = N(select)(replaced, of_most, t[j * pitch]);
    }
}

/* Fills T of a group with what stands for the products of its factors, from the numbers in z. */
static void N(fill_group)(N(paths) * s, int64_t row, REAL repeat) {
    const int64_t m = s->m, end = row + s->group_rows, pitch = s->rows;
    const vec single = s->factor[FACTOR_SINGLE], pair = s->factor[FACTOR_PAIR], own = s->factor[FACTOR_OWN];
    const vec *xi = s->z, *squares = s->z + (s->single ? 2 * m + 1 : m * (m + 1) / 2);
    if (s->single) {
        N(pairs_of_a_row)(s, row, s->z + m);
    } else {
        N(pairs_by_distance)(s, row, end);
    }
    for (int64_t r = row; r < end; r++) {
        const vec error = s->factor[FACTOR_ERROR] * s->e[r];
        vec common = N(splat)(0);
        for (int64_t k = 0; k < m; k++) common += xi[k] * s->u[k * pitch + r];
        common *= single;
        for (int64_t k = 0; k < m; k++) {
            const vec u = s->u[k * pitch + r];
            vec t = pair * s->tail[k * pitch + r] + common + xi[k] * (error + own * u);
            if (s->t->gaussian) t += s->factor[FACTOR_SQUARE] * squares[k] * u;
            s->tail[k * pitch + r] = repeat * t;
        }
    }
}

/* c (ω_i - mean of all ω_i); under numbers that samples share, the mean of their own too. */
static void N(draw_omega)(N(paths) * s, uint32_t step) {
    const int64_t count = 1 + (s->shared ? s->numbers : 0);
    vec *row = s->shared ? s->apart : s->z, total = N(splat)(0);
    const REAL share = (REAL)1 / (REAL)s->n, factor = (REAL)s->t->batch_factor;
    for (int64_t q = 1; q < count; q++) s->mean[q - 1] = N(splat)(0);
    for (int64_t i = 0; i < s->n; i++) {
        N(draw_row)(s, row, count, ROLE_BATCH + (uint32_t)i, step);
        total += s->omega[i] = row[0];
        for (int64_t q = 1; q < count; q++) s->mean[q - 1] += share * row[q];
    }
    for (int64_t i = 0; i < s->n; i++) s->omega[i] = factor * (s->omega[i] - share * total);
}

/* The numbers of group g into z. Those that samples have beside shared ones, in `mean` once `draw_shared` was there,
   are drawn again: kept for all samples they would need too much memory. */
static void N(draw_group)(N(paths) * s, int64_t g, uint32_t step) {
    if (!s->shared) {
        N(draw_row)(s, s->z, s->numbers, ROLE_MASK + (uint32_t)g, step);
        return;
    }
    const REAL factor = (REAL)s->t->batch_factor;
    N(draw_row)(s, s->apart, 1 + s->numbers, ROLE_BATCH + (uint32_t)g, step);
    for (int64_t q = 0; q < s->numbers; q++) s->z[q] = s->mean[q] + factor * s->apart[1 + q];
}

/* ξ less c times the mean of the samples' own into `mean`. */
static void N(draw_shared)(N(paths) * s, uint32_t step) {
    N(draw_row)(s, s->z, s->numbers, ROLE_MASK, step);
    for (int64_t q = 0; q < s->numbers; q++) s->mean[q] = s->z[q] - (REAL)s->t->batch_factor * s->mean[q];
}

/* Adds to T what minibatches and noise on the targets bring. */
static void N(add_other_noise)(N(paths) * s, uint32_t step) {
    const REAL repeat = (REAL)s->t->repeat;
    for (int64_t i = 0; i < s->n; i++) {
        if (s->t->label > 0) N(draw_row)(s, s->z, s->c * (1 + s->m), ROLE_LABEL + (uint32_t)i, step);
        for (int64_t o = 0; o < s->c; o++) {
            const int64_t r = i * s->c + o;
            for (int64_t j = 0; j < s->m; j++) {
                vec t = s->tail[j * s->rows + r];
                if (s->t->batch > 0) {
                    t += s->omega[i] * (s->e[r] + s->factor[FACTOR_VARIANCE] * s->u[j * s->rows + r]);
                }
                if (s->t->label > 0) {
                    t += repeat * (s->factor[FACTOR_LABEL] * s->z[o] +
                                   s->factor[FACTOR_LABEL_FACTOR] * s->z[s->c + o * s->m + j]);
                }
                s->tail[j * s->rows + r] = t;
            }
        }
    }
}

/* N = `size` (1/n) Σ_ρ g_ρj T_ρj. */
static void N(pull)(const N(paths) * s, vec size) {
    const vec by_a = size * ((REAL)s->t->output_scale / (REAL)s->n);
    for (int64_t j = 0; j < s->m; j++) {
        const vec *h = s->h + j * s->n, *h1 = s->h1 + j * s->n, *t = s->tail + j * s->rows;
        for (int64_t o = 0; o < s->c; o++) {
            const vec b = s->b[o * s->m + j];
            vec sum = N(splat)(0);
            for (int64_t i = 0; i < s->n; i++) {
                const vec through = b * t[i * s->c + o];
                sum += h[i] * t[i * s->c + o];
                s->by_z[i] = o ? s->by_z[i] + through : through;
            }
            s->noise[o * s->m + j] = by_a * sum;
        }
        for (int64_t i = 0; i < s->n; i++) s->by_z[i] *= size * h1[i];
        N(put_inputs)(s, s->noise, j);
    }
}

/* N: `size` times a Gaussian vector with the covariance of a step's gradient. */
static void N(normal_noise)(N(paths) * s, vec size, uint32_t step) {
    const int drops = N(any_negative)((ivec)(s->factor[FACTOR_VARIANCE] > 0));
    for (int64_t j = 0; j < s->m; j++) {
        for (int64_t i = 0; i < s->n; i++) {
            for (int64_t o = 0; o < s->c; o++) {
                s->u[j * s->rows + i * s->c + o] = s->b[o * s->m + j] * s->h[j * s->n + i];
            }
        }
    }
    if (s->t->batch > 0) N(draw_omega)(s, step);
    if (drops) {
        if (s->shared) N(draw_shared)(s, step);
        for (int64_t g = 0; g < s->groups; g++) {
            N(draw_group)(s, g, step);
            N(fill_group)(s, g * s->group_rows, s->shared ? 1 : (REAL)s->t->repeat);
        }
    } else {
        for (int64_t q = 0; q < s->m * s->rows; q++) s->tail[q] = N(splat)(0);
    }
    N(add_other_noise)(s, step);
    N(pull)(s, size);
    if (s->t->parameter > 0) {
        N(draw_row)(s, s->z, s->params, ROLE_PARAMETER, step);
        for (int64_t p = 0; p < s->params; p++) s->noise[p] += size * (REAL)s->t->parameter * s->z[p];
    }
    N(freeze)(s, s->noise);
}
