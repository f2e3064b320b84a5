/* The glue of the stochastic equations: a part of module.c, after what checks arrays. */

/* Vectors of the kernels' workspace, or more; in double precision, which does not overflow. */
static double path_vectors_of(const simdrop_path_task *t) {
    const double width = (double)t->width + 64, inputs = (double)t->inputs + 64, outputs = (double)t->outputs + 64;
    const double rows = (double)t->samples + (t->by_masks ? (double)t->batch : 0) + 64;
    const double pairs = t->by_masks ? 0 : width * width;
    return 8 * ((width + rows) * (inputs + outputs) + width * rows * outputs + pairs);
}

/* Sizes and names' numbers that the kernels need to be sound; the numbers themselves are validated by the callers. */
static int check_path_task(const simdrop_path_task *t) {
    const int64_t most = INT64_C(1) << (t->by_masks ? 30 : 28); /* numbers of samples share a word with a role */
    const int64_t most_steps = INT64_C(1) << 32, draws = t->draws ? t->draws : 2;
    const int64_t joined = t->joined > 0 && t->joined < most_steps ? t->joined : 1;
    const char *bad = NULL;
    if (t->activation < 0 || t->activation >= ACTS) bad = "activation";
    else if (t->mask < 0 || t->mask >= MASKS) bad = "mask";
    else if (t->order < 1 || t->order > 2) bad = "order";
    else if (t->part < 0 || t->part >= PART_COUNT) bad = "part";
    else if (t->train < 0 || t->train >= TRAIN_COUNT) bad = "train";
    else if ((bad = bad_size(t->samples, t->inputs, t->outputs, t->width, most))) return out_of_range(bad);
    else if (t->masks < 1 || (t->by_masks && t->masks > most_steps)) bad = "number of masks";
    else if (t->batch < 0 || (t->by_masks && t->batch > most) || (!t->replace && t->batch > t->samples)) {
        bad = "batch size";
    } else if (t->draws < 0 || t->draws > 2) bad = "draws";
    else if (t->joined != joined || (t->by_masks && joined > 1)) bad = "number of joined steps";
    else if (!are_steps(t->first_step, t->steps, most_steps / (t->by_masks ? draws * t->masks : joined))) {
        bad = "number of steps";
    } else if (is_beyond_memory(path_vectors_of(t))) bad = "product of sizes";
    return bad ? out_of_range(bad) : 0;
}

/* What paths take, in this order; the first three as training does. */
enum { PATH_LR = THETA + 1, PATH_KEEP_PROB, PATH_MEMBER, NUMBERS, PATH_DIVERGED, SIZES, STAGES, PATH_ARRAYS };
static const array_rule FOLLOWING[PATH_ARRAYS] = {
    {"x", 'r', 0, 2},         {"y", 'r', 0, 2},      {"theta", 'r', 1, 2},   {"lr", 'd', 0, 1},
    {"keep_prob", 'd', 0, 1}, {"member", 'u', 0, 1}, {"numbers", 'd', 0, 2}, {"diverged", 'i', 1, 1},
    {"sizes", 'd', 0, 1},     {"stages", 'd', 0, 2},
};

PyDoc_STRVAR(follow_doc,
             "follow(isa, config, x, y, theta, lr, keep_prob, member, numbers, diverged, sizes, stages, first_step,\n"
             "       joined=1)\n\n"
             "Take all paths of a stochastic equation through steps of these sizes, in place. config is (activation,\n"
             "mask, order, by_masks, train, part, gaussian, replace, masks, batch or 0, output_scale, batch_factor,\n"
             "repeat, label, parameter, seed); numbers (M, 9) and stages (S, 3) as path_task.h says.");

static PyObject *follow(PyObject *module, PyObject *args) {
    (void)module;
    simdrop_path_task t;
    memset(&t, 0, sizeof t);
    const char *isa;
    PyObject *arrays[PATH_ARRAYS];
    long long masks, batch, first_step, joined = 1;
    unsigned long long seed;
    if (!PyArg_ParseTuple(args, "s(iiipiippLLdddddK)OOOOOOOOOOL|L:follow", &isa, &t.activation, &t.mask, &t.order,
                          &t.by_masks, &t.train, &t.part, &t.gaussian, &t.replace, &masks, &batch, &t.output_scale,
                          &t.batch_factor, &t.repeat, &t.label, &t.parameter, &seed, &arrays[0], &arrays[1], &arrays[2],
                          &arrays[3], &arrays[4], &arrays[5], &arrays[6], &arrays[7], &arrays[8], &arrays[9],
                          &first_step, &joined)) {
        return NULL;
    }
    const simdrop_kernels *kernels = find_kernels(isa);
    const char kind = kernels ? real_kind(arrays[2], "theta") : 0;
    if (!kind) return NULL;
    Py_buffer views[PATH_ARRAYS];
    if (take_arrays(arrays, FOLLOWING, PATH_ARRAYS, kind, views)) return NULL;
    TAKE_SIZES(t, views);
    t.masks = masks;
    t.batch = batch;
    t.seed = seed;
    t.joined = joined;
    t.rates = 1;
    t.first_step = first_step;
    t.steps = views[SIZES].shape[0];
    t.stage_count = views[STAGES].shape[0];
    const int64_t lengths[PATH_ARRAYS][3] = {
        {t.samples, t.inputs}, {t.samples, t.outputs}, {t.members, t.width * (t.inputs + t.outputs)},
        {t.members},           {t.members},            {t.members},
        {t.members, FACTORS},  {t.members},            {t.steps},
        {t.stage_count, STAGE_FIELDS},
    };
    int failed = check_path_task(&t) || check_lengths(views, FOLLOWING, lengths, PATH_ARRAYS);
    if (!failed) {
        t.x = views[X].buf;
        t.y = views[Y].buf;
        t.theta = views[THETA].buf;
        t.lr = views[PATH_LR].buf;
        t.keep_prob = views[PATH_KEEP_PROB].buf;
        t.member = views[PATH_MEMBER].buf;
        t.numbers = views[NUMBERS].buf;
        t.diverged = views[PATH_DIVERGED].buf;
        t.sizes = views[SIZES].buf;
        t.stages = views[STAGES].buf;
        Py_BEGIN_ALLOW_THREADS
        failed = kernels->follow[kind == 'd'](&t);
        Py_END_ALLOW_THREADS
        if (failed) PyErr_NoMemory();
    }
    return release_arrays(views, PATH_ARRAYS, failed);
}

PyDoc_STRVAR(train_noisy_doc,
             "train_noisy(isa, config, x, y, theta, moments, lr, keep_prob, member, diverged, first_step, steps,\n"
             "            weight_decay=0.0, decoupled=False)\n\n"
             "Train all members in place under more noise than dropout. config is (activation, mask, train, part,\n"
             "gaussian, replace, masks, batch or 0, output_scale, label, parameter, draws, weight, weight, optimizer,\n"
             "momentum, beta1, beta2, epsilon, seed); see path_task.h.");

static PyObject *train_noisy(PyObject *module, PyObject *args) {
    (void)module;
    simdrop_path_task t;
    memset(&t, 0, sizeof t);
    const char *isa;
    PyObject *arrays[TRAINING_ARRAYS];
    long long masks, batch, first_step, steps;
    unsigned long long seed;
    if (!PyArg_ParseTuple(args, "s(iiiippLLdddiddiddddK)OOOOOOOOLL|dp:train_noisy", &isa, &t.activation, &t.mask, &t.train,
                          &t.part, &t.gaussian, &t.replace, &masks, &batch, &t.output_scale, &t.label, &t.parameter,
                          &t.draws, &t.weights[0], &t.weights[1], &t.optimizer, &t.momentum, &t.beta1, &t.beta2,
                          &t.epsilon, &seed, &arrays[0], &arrays[1], &arrays[2], &arrays[3], &arrays[4], &arrays[5],
                          &arrays[6], &arrays[7], &first_step, &steps, &t.weight_decay, &t.decoupled)) {
        return NULL;
    }
    const simdrop_kernels *kernels = find_kernels(isa);
    const char kind = kernels ? real_kind(arrays[2], "theta") : 0;
    if (!kind) return NULL;
    Py_buffer views[TRAINING_ARRAYS];
    if (take_arrays(arrays, TRAINING, TRAINING_ARRAYS, kind, views)) return NULL;
    TAKE_SIZES(t, views);
    t.order = 1;
    t.joined = 1;
    t.by_masks = 1;
    t.masks = masks;
    t.batch = batch;
    t.seed = seed;
    t.first_step = first_step;
    t.steps = steps;
    t.rates = views[LR].shape[1] == 1 ? 1 : steps;
    int failed = check_path_task(&t);
    if (!failed && (t.optimizer < 0 || t.optimizer >= OPTIMIZERS || t.draws < 1)) {
        failed = out_of_range("optimizer or draws");
    }
    failed = failed || CHECK_TRAINING(t, t.rates, views);
    if (!failed && t.steps > 0) { /* else there may be no learning rates either */
        TAKE_TRAINING(t, views);
        Py_BEGIN_ALLOW_THREADS
        failed = kernels->train_noisy[kind == 'd'](&t);
        Py_END_ALLOW_THREADS
        if (failed) PyErr_NoMemory();
    }
    return release_arrays(views, TRAINING_ARRAYS, failed);
}
