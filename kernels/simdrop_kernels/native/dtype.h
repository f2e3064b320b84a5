/* Everything of one dtype, in order of dependence. */
#include "lanes.h"
#include "activation.h"
#include "space.h"
#include "panels.h"
#include "gemm.h"
#include "general.h"
#include "fused.h"
#include "kept.h"
#include "step.h"
#include "group_space.h"
#include "group_draws.h"
#include "group_forward.h"
#include "group_backward.h"
#include "group_train.h"
#include "entry.h"
#undef vec
#undef ivec
