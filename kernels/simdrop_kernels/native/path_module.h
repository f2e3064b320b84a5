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
    const char *bad = NULL;
    if (t->activation < 0 || t->activation >= ACTS) bad = "activation";
    else if (t->mask < 0 || t->mask >= MASKS) bad = "mask";
    else if (t->order < 1 || t->order > 2) bad = "order";
    else if (t->part < 0 || t->part >= PART_COUNT) bad = "part";
    else if (t->train < 0 || t->train >= TRAIN_COUNT) bad = "train";
    else if (t->samples < 1 || t->samples > most) bad = "number of samples";
    else if (t->inputs < 1 || t->inputs > most) bad = "number of inputs";
    else if (t->outputs < 1 || t->outputs > most) bad = "number of outputs";
    else if (t->width < 1 || t->width > most) bad = "width";
    else if (t->masks < 1 || (t->by_masks && t->masks > most_steps)) bad = "number of masks";
    else if (t->batch < 0 || (t->by_masks && t->batch > most) || (!t->replace && t->batch > t->samples)) {
        bad = "batch size";
    } else if (t->draws < 0 || t->draws > 2) bad = "draws";
    else if (!are_steps(t->first_step, t->steps, t->by_masks ? most_steps / (draws * t->masks) : most_steps)) {
        bad = "number of steps";
    } else if (is_beyond_memory(path_vectors_of(t))) bad = "product of sizes";
    if (bad) PyErr_Format(PyExc_ValueError, "%s: out of range", bad);
    return bad ? -1 : 0;
}

#define PATH_ARRAYS 10

PyDoc_STRVAR(follow_doc,
             "follow(isa, config, x, y, theta, lr, keep_prob, member, numbers, diverged, sizes, stages, first_step)\n\n"
             "Take all paths of a stochastic equation through steps of these sizes, in place. config is (activation,\n"
             "mask, order, by_masks, train, part, gaussian, replace, masks, batch or 0, output_scale, batch_factor,\n"
             "repeat, label, parameter, seed); numbers (M, 9) and stages (S, 3) as path_task.h says.");

static PyObject *follow(PyObject *module, PyObject *args) {
    (void)module;
    simdrop_path_task t;
    memset(&t, 0, sizeof t);
    const char *isa;
    PyObject *arrays[PATH_ARRAYS];
    long long masks, batch, first_step;
    unsigned long long seed;
    if (!PyArg_ParseTuple(args, "s(iiipiippLLdddddK)OOOOOOOOOOL:follow", &isa, &t.activation, &t.mask, &t.order,
                          &t.by_masks, &t.train, &t.part, &t.gaussian, &t.replace, &masks, &batch, &t.output_scale,
                          &t.batch_factor, &t.repeat, &t.label, &t.parameter, &seed, &arrays[0], &arrays[1], &arrays[2],
                          &arrays[3], &arrays[4], &arrays[5], &arrays[6], &arrays[7], &arrays[8], &arrays[9],
                          &first_step)) {
        return NULL;
    }
    const simdrop_kernels *kernels = find_kernels(isa);
    const char kind = kernels ? real_kind(arrays[2], "theta") : 0;
    if (!kind) return NULL;
    const array_rule rules[PATH_ARRAYS] = {
        {"x", kind, 0, 2, {-1, -1, -1}},      {"y", kind, 0, 2, {-1, -1, -1}},      {"theta", kind, 1, 2, {-1, -1, -1}},
        {"lr", 'd', 0, 1, {-1, -1, -1}},      {"keep_prob", 'd', 0, 1, {-1, -1, -1}}, {"member", 'u', 0, 1, {-1, -1, -1}},
        {"numbers", 'd', 0, 2, {-1, -1, -1}}, {"diverged", 'i', 1, 1, {-1, -1, -1}}, {"sizes", 'd', 0, 1, {-1, -1, -1}},
        {"stages", 'd', 0, 2, {-1, -1, -1}},
    };
    Py_buffer views[PATH_ARRAYS];
    if (take_arrays(arrays, rules, PATH_ARRAYS, views)) return NULL;
    t.samples = views[0].shape[0];
    t.inputs = views[0].shape[1];
    t.outputs = views[1].shape[1];
    t.members = views[2].shape[0];
    t.width = t.inputs + t.outputs > 0 ? views[2].shape[1] / (t.inputs + t.outputs) : 0;
    t.masks = masks;
    t.batch = batch;
    t.seed = seed;
    t.first_step = first_step;
    t.steps = views[8].shape[0];
    t.stage_count = views[9].shape[0];
    const int64_t lengths[PATH_ARRAYS][3] = {
        {t.samples, t.inputs, 0}, {t.samples, t.outputs, 0}, {t.members, t.width * (t.inputs + t.outputs), 0},
        {t.members, 0, 0},        {t.members, 0, 0},         {t.members, 0, 0},
        {t.members, FACTORS, 0},  {t.members, 0, 0},         {t.steps, 0, 0},
        {t.stage_count, STAGE_FIELDS, 0},
    };
    int failed = check_path_task(&t) || check_lengths(views, rules, lengths, PATH_ARRAYS);
    if (!failed) {
        t.x = views[0].buf;
        t.y = views[1].buf;
        t.theta = views[2].buf;
        t.lr = views[3].buf;
        t.keep_prob = views[4].buf;
        t.member = views[5].buf;
        t.numbers = views[6].buf;
        t.diverged = views[7].buf;
        t.sizes = views[8].buf;
        t.stages = views[9].buf;
        Py_BEGIN_ALLOW_THREADS
        failed = kernels->follow[kind == 'd'](&t);
        Py_END_ALLOW_THREADS
        if (failed) PyErr_NoMemory();
    }
    release_arrays(views, PATH_ARRAYS);
    if (failed) return NULL;
    Py_RETURN_NONE;
}

#define NOISY_ARRAYS 8

PyDoc_STRVAR(train_noisy_doc,
             "train_noisy(isa, config, x, y, theta, moments, lr, keep_prob, member, diverged, first_step, steps)\n\n"
             "Train all members in place under more noise than dropout. config is (activation, mask, train, part,\n"
             "gaussian, replace, masks, batch or 0, output_scale, label, parameter, draws, weight, weight, optimizer,\n"
             "momentum, beta1, beta2, epsilon, seed); see path_task.h.");

static PyObject *train_noisy(PyObject *module, PyObject *args) {
    (void)module;
    simdrop_path_task t;
    memset(&t, 0, sizeof t);
    const char *isa;
    PyObject *arrays[NOISY_ARRAYS];
    long long masks, batch, first_step, steps;
    unsigned long long seed;
    if (!PyArg_ParseTuple(args, "s(iiiippLLdddiddiddddK)OOOOOOOOLL:train_noisy", &isa, &t.activation, &t.mask, &t.train,
                          &t.part, &t.gaussian, &t.replace, &masks, &batch, &t.output_scale, &t.label, &t.parameter,
                          &t.draws, &t.weights[0], &t.weights[1], &t.optimizer, &t.momentum, &t.beta1, &t.beta2,
                          &t.epsilon, &seed, &arrays[0], &arrays[1], &arrays[2], &arrays[3], &arrays[4], &arrays[5],
                          &arrays[6], &arrays[7], &first_step, &steps)) {
        return NULL;
    }
    const simdrop_kernels *kernels = find_kernels(isa);
    const char kind = kernels ? real_kind(arrays[2], "theta") : 0;
    if (!kind) return NULL;
    const array_rule rules[NOISY_ARRAYS] = {
        {"x", kind, 0, 2, {-1, -1, -1}},       {"y", kind, 0, 2, {-1, -1, -1}}, {"theta", kind, 1, 2, {-1, -1, -1}},
        {"moments", kind, 1, 3, {-1, -1, -1}}, {"lr", 'd', 0, 2, {-1, -1, -1}}, {"keep_prob", 'd', 0, 1, {-1, -1, -1}},
        {"member", 'u', 0, 1, {-1, -1, -1}},   {"diverged", 'i', 1, 1, {-1, -1, -1}},
    };
    Py_buffer views[NOISY_ARRAYS];
    if (take_arrays(arrays, rules, NOISY_ARRAYS, views)) return NULL;
    t.samples = views[0].shape[0];
    t.inputs = views[0].shape[1];
    t.outputs = views[1].shape[1];
    t.members = views[2].shape[0];
    t.width = t.inputs + t.outputs > 0 ? views[2].shape[1] / (t.inputs + t.outputs) : 0;
    t.order = 1;
    t.by_masks = 1;
    t.masks = masks;
    t.batch = batch;
    t.seed = seed;
    t.first_step = first_step;
    t.steps = steps;
    const int64_t params = t.width * (t.inputs + t.outputs);
    const int64_t moments = t.optimizer == OPTIMIZER_ADAM ? 2 : t.optimizer != OPTIMIZER_SGD ? 1 : 0;
    const int64_t lengths[NOISY_ARRAYS][3] = {
        {t.samples, t.inputs, 0}, {t.samples, t.outputs, 0}, {t.members, params, 0}, {t.members, moments, params},
        {t.members, 1, 0},        {t.members, 0, 0},         {t.members, 0, 0},      {t.members, 0, 0},
    };
    int failed = check_path_task(&t);
    if (!failed && (t.optimizer < 0 || t.optimizer >= OPTIMIZERS || t.draws < 1)) {
        failed = -1;
        PyErr_SetString(PyExc_ValueError, "optimizer or draws: out of range");
    }
    failed = failed || check_lengths(views, rules, lengths, NOISY_ARRAYS);
    if (!failed) {
        t.x = views[0].buf;
        t.y = views[1].buf;
        t.theta = views[2].buf;
        t.moments = views[3].buf;
        t.lr = views[4].buf;
        t.keep_prob = views[5].buf;
        t.member = views[6].buf;
        t.diverged = views[7].buf;
        Py_BEGIN_ALLOW_THREADS
        failed = kernels->train_noisy[kind == 'd'](&t);
        Py_END_ALLOW_THREADS
        if (failed) PyErr_NoMemory();
    }
    release_arrays(views, NOISY_ARRAYS);
    if (failed) return NULL;
    Py_RETURN_NONE;
}
