/* The kernels of one instruction set: compiled once for each with SIMDROP_NAME set to its name and the
   compiler's flags set to match. The headers below are templates, included once per dtype. */

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "isa.h"
#include "philox.h"
#include "task.h"
#include "coefficients.h"
#include "lane_draws.h"

#define REAL_IS_FLOAT 1
#include "dtype.h"
#undef REAL_IS_FLOAT
#define REAL_IS_FLOAT 0
#include "dtype.h"
#undef REAL_IS_FLOAT

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

extern const simdrop_kernels JOIN(simdrop_kernels_, SIMDROP_NAME);
const simdrop_kernels JOIN(simdrop_kernels_, SIMDROP_NAME) = {
    TEXT(SIMDROP_NAME),
    {{advance_f32, advance_f64}, {advance_groups_f32, advance_groups_f64}},
    {evaluate_f32, evaluate_f64},
    {activate_f32, activate_f64},
    {follow_f32, follow_f64},
    {train_noisy_f32, train_noisy_f64},
};
