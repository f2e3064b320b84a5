/* Matrix products for many inputs, per dtype: tiles of up to 12 rows by two vectors, held in registers.

   Legend: A the operand whose numbers are broadcast, packed as blocks [depth][rows]; B the operand that is
   read in vectors. */

#if defined(SIMDROP_AVX512)
#define TILE_ROWS 12 /* 24 of 32 registers accumulate */
#else
#define TILE_ROWS 4
#endif

/* The height of the tile that begins where `rest` rows remain. */
INLINE int N(tile_rows)(int64_t rest) {
    if (rest >= 12 && TILE_ROWS >= 12) return 12;
    if (rest >= 8 && TILE_ROWS >= 8) return 8;
    return 4;
}

/* Packs `from` (rows by depth, with the given strides) into blocks; rows past the end are 0. */
static void N(pack_blocks)(const REAL *from, int64_t rows, int64_t depth, int64_t row_step, int64_t depth_step,
                           REAL *to) {
    for (int64_t r0 = 0; r0 < rows;) {
        const int height = N(tile_rows)(rows - r0);
        for (int64_t k = 0; k < depth; k++) {
            for (int64_t r = r0; r < r0 + height; r++) *to++ = r < rows ? from[r * row_step + k * depth_step] : 0;
        }
        r0 += height;
    }
}

/* out[r][:] = Σ_k a[k][r] b[k][:] for `height` rows and one or two vectors side by side. */
INLINE void N(tile)(const int height, const int vectors, int64_t depth, const REAL *a, const REAL *const b[2],
                    int64_t b_step, REAL *const out[2], int64_t out_step) {
    vec sum[TILE_ROWS][2];
#pragma GCC unroll 12
    for (int r = 0; r < height; r++) sum[r][0] = sum[r][1] = N(splat)(0);
    for (int64_t k = 0; k < depth; k++) {
        const vec left = N(load)(b[0] + k * b_step);
        const vec right = vectors > 1 ? N(load)(b[1] + k * b_step) : left;
#pragma GCC unroll 12
        for (int r = 0; r < height; r++) {
            sum[r][0] += a[k * height + r] * left;
            if (vectors > 1) sum[r][1] += a[k * height + r] * right;
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < height; r++) {
        N(store)(out[0] + r * out_step, sum[r][0]);
        if (vectors > 1) N(store)(out[1] + r * out_step, sum[r][1]);
    }
}

/* All rows of one or two vectors: out[v][row][:] = Σ_k A[row][k] b[v][k][:]. */
static void N(multiply)(int vectors, int64_t rows, int64_t depth, const REAL *a, const REAL *const b[2],
                        int64_t b_step, REAL *const out[2], int64_t out_step) {
    for (int64_t r0 = 0; r0 < rows;) {
        const int height = N(tile_rows)(rows - r0);
        REAL *const at[2] = {out[0] + r0 * out_step, out[1] + r0 * out_step};
        const REAL *block = a + r0 * depth;
#define TILE(height, vectors) N(tile)(height, vectors, depth, block, b, b_step, at, out_step)
#if TILE_ROWS >= 12
        if (height == 12 && vectors == 2) TILE(12, 2);
        else if (height == 12) TILE(12, 1);
        else if (height == 8 && vectors == 2) TILE(8, 2);
        else if (height == 8) TILE(8, 1);
        else
#endif
        if (vectors == 2) TILE(4, 2);
        else TILE(4, 1);
#undef TILE
        r0 += height;
    }
}
#undef TILE_ROWS
