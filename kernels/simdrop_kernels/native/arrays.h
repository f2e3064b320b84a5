/* How arrays come from Python, by the buffer protocol: a part of module.c. */

/* What an array must be, besides its lengths. */
typedef struct {
    const char *name;
    char kind; /* 'd' float64, 'i' int64, 'u' uint64, 'r' float32 or float64: the one that the call is of */
    int writable, ndim;
} array_rule;

static int format_is(const Py_buffer *view, char kind) {
    const char *format = view->format ? view->format : "B";
    if (*format == '@' || *format == '=') format++;
    if (format[0] == '\0' || format[1] != '\0') return 0;
    if (kind == 'r') return *format == 'f' || *format == 'd';
    if (kind == 'i') return view->itemsize == 8 && (*format == 'l' || *format == 'q');
    if (kind == 'u') return view->itemsize == 8 && (*format == 'L' || *format == 'Q');
    return *format == kind;
}

static const char *kind_name(char kind) {
    switch (kind) {
    case 'f': return "float32";
    case 'd': return "float64";
    case 'i': return "int64";
    case 'u': return "uint64";
    default: return "float32 or float64";
    }
}

/* Fills `view`, or sets an exception that names the array and returns -1 with nothing held. `real` is what kind 'r' is
   here: 'f', 'd', or 'r' for either. */
static int take_array(PyObject *object, const array_rule *rule, char real, Py_buffer *view) {
    const char kind = rule->kind == 'r' ? real : rule->kind;
    if (PyObject_GetBuffer(object, view, PyBUF_STRIDED_RO | PyBUF_FORMAT)) {
        PyErr_Format(PyExc_TypeError, "%s: an array is needed, not %R", rule->name, (PyObject *)Py_TYPE(object));
        return -1;
    }
    if (!format_is(view, kind)) {
        PyErr_Format(PyExc_TypeError, "%s: dtype must be %s, not format '%s'", rule->name, kind_name(kind),
                     view->format ? view->format : "B");
    } else if (view->ndim != rule->ndim) {
        PyErr_Format(PyExc_ValueError, "%s: %d dimensions are needed, not %d", rule->name, rule->ndim, view->ndim);
    } else if (!PyBuffer_IsContiguous(view, 'C')) {
        PyErr_Format(PyExc_ValueError, "%s: must be C-contiguous", rule->name);
    } else if ((uintptr_t)view->buf % (uintptr_t)view->itemsize != 0) {
        PyErr_Format(PyExc_ValueError, "%s: must be aligned to its items", rule->name);
    } else if (rule->writable && view->readonly) {
        PyErr_Format(PyExc_ValueError, "%s: is read-only but would be written", rule->name);
    } else {
        return 0;
    }
    PyBuffer_Release(view);
    return -1;
}

/* Takes `count` arrays by their rules; -1 with an exception and nothing held if one breaks its rule. */
static int take_arrays(PyObject *const *objects, const array_rule *rules, int count, char real, Py_buffer *views) {
    for (int i = 0; i < count; i++) {
        if (take_array(objects[i], &rules[i], real, &views[i]) == 0) continue;
        while (i-- > 0) PyBuffer_Release(&views[i]);
        return -1;
    }
    return 0;
}

/* Lets go of the arrays, and returns what the call returns: None, or NULL where it failed. */
static PyObject *release_arrays(Py_buffer *views, int count, int failed) {
    for (int i = 0; i < count; i++) PyBuffer_Release(&views[i]);
    if (failed) return NULL;
    Py_RETURN_NONE;
}

/* Whether all axes have these lengths: 0, or -1 with an exception. */
static int check_lengths(const Py_buffer *views, const array_rule *rules, const int64_t (*lengths)[3], int count) {
    for (int i = 0; i < count; i++) {
        for (int axis = 0; axis < rules[i].ndim; axis++) {
            if (views[i].shape[axis] == lengths[i][axis]) continue;
            PyErr_Format(PyExc_ValueError, "%s: axis %d has length %zd, not %lld", rules[i].name, axis,
                         views[i].shape[axis], (long long)lengths[i][axis]);
            return -1;
        }
    }
    return 0;
}

/* The dtype of the array that decides it: 'f' or 'd', or 0 with an exception. */
static char real_kind(PyObject *object, const char *name) {
    Py_buffer view;
    const array_rule rule = {name, 'r', 0, 2};
    if (take_array(object, &rule, 'r', &view)) return 0;
    const char kind = format_is(&view, 'f') ? 'f' : 'd';
    PyBuffer_Release(&view);
    return kind;
}
