// The fast half of the ring: the same steps and the same bytes as the Python reference (ring.py, lane.py, drain.py and
// _codec/lines.py), for docs/format/journal.md version 1. Limited API of CPython 3.11, so that one build serves all.
//
// What is here: State (offset, limit and mapped bytes of a ring), Counter (the next index of a lane), Lane (append),
// Drainer (records to JSON lines to files, without the GIL), and the clock. Policies, journals, files and threads are Python's.
//
// Threads. State, Counter and Lane are only touched with the GIL held; between the check of the limit and the commit mark no
// Python code runs, so the section is indivisible. Drainer::drain runs without the GIL on bytes that are committed and not
// released: nobody else touches those. A Drainer has one driver at a time (the writer's turn).
// Errors. Nothing here keeps a Python object per point. A value that is not unboxed here goes to `otherwise`, in Python.

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <initializer_list>
#include <new>
#include <string>
#include <unordered_map>
#include <vector>

#ifndef _WIN32
#include <cerrno>
#include <sys/stat.h>
#include <unistd.h>
#endif
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__)) && defined(__linux__)
#include <x86intrin.h>
#define PENSTOCK_TSC 1
#endif

namespace {

// Not the macro Py_RETURN_NONE: in the headers of CPython 3.12 and later it takes None for immortal, which it is not in 3.11, where the
// limited API lets the same build run.
inline PyObject *none() {
    Py_INCREF(Py_None);
    return Py_None;
}

template <class T> inline PyObject *object(T *thing) { return reinterpret_cast<PyObject *>(thing); }
template <class T> inline void drop(T *&place) {  // Py_CLEAR for the structs of this file
    T *old = place;
    place = nullptr;
    Py_XDECREF(object(old));
}

// -- the format (docs/format/journal.md) ---------------------------------------------------------------------------

constexpr uint16_t kMark = 0x5350;
constexpr uint32_t kDone = 0x454E4F44;
constexpr uint8_t kPoint = 1, kGeneral = 2, kLog = 3;
constexpr uint8_t kFloat = 1, kInt = 2, kBool = 3, kNone = 4;
constexpr Py_ssize_t kMaxFields = 16;
constexpr uint32_t kPrefixBytes = 24, kFixedBytes = 40, kCommitBytes = 8;

static_assert(sizeof(double) == 8 && sizeof(long long) == 8, "64-bit values");
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "journals are little endian; on this machine the Python reference serves"
#endif

template <class T> inline T load(const unsigned char *at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}
template <class T> inline void store(unsigned char *at, T value) { std::memcpy(at, &value, sizeof value); }

// -- CRC-32 (IEEE, as zlib), eight bytes at a time ---------------------------------------------------------------------

struct CrcTables {
    uint32_t t[8][256];
    CrcTables() {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;
            for (int k = 0; k < 8; k++) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
            t[0][i] = c;
        }
        for (uint32_t i = 0; i < 256; i++)
            for (int k = 1; k < 8; k++) t[k][i] = (t[k - 1][i] >> 8) ^ t[0][t[k - 1][i] & 0xFF];
    }
};
const CrcTables crc_tables;

// `seed` is the CRC of what came before; `size` is a multiple of 8.
inline uint32_t crc32_words(const unsigned char *data, size_t size, uint32_t seed) {
    const auto &t = crc_tables.t;
    uint32_t c = ~seed;
    for (size_t at = 0; at < size; at += 8) {
        uint32_t lo = load<uint32_t>(data + at) ^ c, hi = load<uint32_t>(data + at + 4);
        c = t[7][lo & 0xFF] ^ t[6][lo >> 8 & 0xFF] ^ t[5][lo >> 16 & 0xFF] ^ t[4][lo >> 24] ^ t[3][hi & 0xFF] ^
            t[2][hi >> 8 & 0xFF] ^ t[1][hi >> 16 & 0xFF] ^ t[0][hi >> 24];
    }
    return ~c;
}

// -- the clock: wall time in ns, within a few us of the system clock, never backwards but when that is set back ---------

inline int64_t system_ns() {
    struct timespec now;
#ifdef _WIN32
    timespec_get(&now, TIME_UTC);
#else
    clock_gettime(CLOCK_REALTIME, &now);
#endif
    return int64_t(now.tv_sec) * 1000000000 + now.tv_nsec;
}

#ifdef PENSTOCK_TSC
// Between two looks at the system clock (at most kLookNs apart) time is taken from the invariant time stamp counter, at the
// rate measured over the last looks. Guarded by the GIL.
struct Clock {
    static constexpr int64_t kLookNs = 500000;       // 0.5 ms: a wrong rate or a step of the clock shows no longer than this
    static constexpr int64_t kStepNs = 10000000;     // set back by more than 10 ms: follow; less: stand still
    static constexpr int64_t kRateNs = 2000000;      // a rate is measured over at least 2 ms: to 1 % with looks that are...
    static constexpr uint64_t kTightTicks = 20000;   // ...this tight, about 10 us: a look takes some 100 ticks undisturbed
    bool usable = false;
    uint64_t tsc = 0, look_ticks = 0;
    int64_t ns = 0, last = 0;
    uint64_t rate_tsc = 0;
    int64_t rate_ns = 0;
    double per_tick = 0;

    int64_t look() {
        // The counter is read on both sides of the system clock: a look that was interrupted in between is taken again.
        uint64_t ticks = __rdtsc();
        int64_t now = 0;
        bool tight = false;
        for (int tries = 0; tries < 4 && !tight; tries++) {
            uint64_t before = ticks;
            now = system_ns();
            ticks = __rdtsc();
            tight = ticks - before < kTightTicks;
        }
        if (!tight || !rate_tsc || ticks <= rate_tsc) {  // no good look; the first one; or the counter began anew
            per_tick = tight && rate_tsc && per_tick > 0 ? per_tick : 0;
            rate_tsc = tight ? ticks : 0, rate_ns = now;
        } else if (now - rate_ns > kRateNs) {
            double measured = double(now - rate_ns) / double(ticks - rate_tsc);
            bool steady = per_tick == 0 || (measured < per_tick * 1.01 && measured > per_tick * 0.99);
            bool sane = steady && measured > 0.05 && measured < 10;  // else the clock was set meanwhile: measure anew
            per_tick = sane ? measured : 0;
            if (!sane || now - rate_ns > 1000000000) rate_tsc = ticks, rate_ns = now;  // and once a second in any case
        }
        look_ticks = per_tick > 0 ? uint64_t(double(kLookNs) / per_tick) : 0;
        tsc = ticks, ns = now;
        if (now < last && last - now < kStepNs) return last;
        return last = now;
    }
    inline int64_t now() {
        if (!usable) return system_ns();
        uint64_t passed = __rdtsc() - tsc;
        if (passed >= look_ticks) return look();  // also when the counter went backwards (another socket)
        int64_t now = ns + int64_t(double(passed) * per_tick);
        return now > last ? last = now : last;
    }
} wall;

bool tsc_is_trusted() {
    char name[16] = {};
    if (FILE *f = std::fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "r")) {
        if (!std::fgets(name, sizeof name, f)) name[0] = 0;
        std::fclose(f);
    }
    return std::strncmp(name, "tsc", 3) == 0;  // the kernel checked that it is invariant and equal on all cores
}
inline int64_t now_ns() { return wall.now(); }
#else
inline int64_t now_ns() { return system_ns(); }
#endif

// -- State: [next offset, soft limit, mapped bytes], as the list of the Python reference ----------------------------------

struct State {
    PyObject_HEAD
    Py_ssize_t offset, limit;
    PyObject *mapped;
    Py_buffer view;
    bool held;
};

void state_detach(State *self) {
    if (self->held) PyBuffer_Release(&self->view), self->held = false;
    Py_CLEAR(self->mapped);
}

int state_attach(State *self, PyObject *mapped) {
    if (mapped == Py_None) {
        state_detach(self);
        return 0;
    }
    Py_buffer view;
    if (PyObject_GetBuffer(mapped, &view, PyBUF_WRITABLE) < 0) return -1;
    bool aligned = reinterpret_cast<uintptr_t>(view.buf) % 8 == 0;
    if (self->limit > view.len || self->offset > view.len || !aligned) {
        PyBuffer_Release(&view);
        if (aligned)
            PyErr_Format(PyExc_ValueError, "the ring's offset %zd or limit %zd lies beyond the %zd mapped bytes", self->offset, self->limit, view.len);
        else
            PyErr_SetString(PyExc_ValueError, "a ring's bytes must start at a multiple of 8");
        return -1;
    }
    state_detach(self);
    self->view = view, self->held = true;
    Py_INCREF(mapped);
    self->mapped = mapped;
    return 0;
}

PyObject *state_new(PyTypeObject *type, PyObject *args, PyObject *) {
    Py_ssize_t offset, limit;
    PyObject *mapped;
    if (!PyArg_ParseTuple(args, "nnO", &offset, &limit, &mapped)) return nullptr;
    if (offset < 0 || offset % 8) return PyErr_Format(PyExc_ValueError, "offset %zd is no multiple of 8", offset);
    auto alloc = reinterpret_cast<allocfunc>(PyType_GetSlot(type, Py_tp_alloc));
    auto *self = reinterpret_cast<State *>(alloc(type, 0));
    if (!self) return nullptr;
    self->offset = offset, self->limit = limit;
    self->mapped = nullptr, self->held = false;
    if (state_attach(self, mapped) < 0) {
        Py_DECREF(object(self));
        return nullptr;
    }
    return reinterpret_cast<PyObject *>(self);
}

void plain_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    reinterpret_cast<freefunc>(PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(object(type));
}

void state_dealloc(PyObject *self) {
    state_detach(reinterpret_cast<State *>(self));
    plain_dealloc(self);
}

PyObject *state_item(PyObject *op, Py_ssize_t i) {
    auto *self = reinterpret_cast<State *>(op);
    if (i == 0) return PyLong_FromSsize_t(self->offset);
    if (i == 1) return PyLong_FromSsize_t(self->limit);
    if (i == 2) {
        PyObject *mapped = self->mapped ? self->mapped : Py_None;
        Py_INCREF(mapped);
        return mapped;
    }
    PyErr_SetString(PyExc_IndexError, "a ring's state has three items");
    return nullptr;
}

int state_set(PyObject *op, Py_ssize_t i, PyObject *value) {
    auto *self = reinterpret_cast<State *>(op);
    if (!value || i < 0 || i > 2) {
        PyErr_SetString(PyExc_IndexError, "a ring's state has three items");
        return -1;
    }
    if (i == 2) return state_attach(self, value);
    Py_ssize_t number = PyLong_AsSsize_t(value);
    if (number == -1 && PyErr_Occurred()) return -1;
    Py_ssize_t most = self->held ? self->view.len : 0;
    if (number > most || (i == 0 && number < 0)) {  // a limit of -1 stops the ring
        PyErr_Format(PyExc_ValueError, "%zd lies outside the %zd mapped bytes", number, most);
        return -1;
    }
    if (i == 0 && number % 8) {  // the commit word is stored as one
        PyErr_Format(PyExc_ValueError, "offset %zd is no multiple of 8", number);
        return -1;
    }
    (i ? self->limit : self->offset) = number;
    return 0;
}

Py_ssize_t state_length(PyObject *) { return 3; }

PyType_Slot state_slots[] = {
    {Py_tp_doc, const_cast<char *>("[next offset, soft limit, mapped bytes] of a ring")},
    {Py_tp_new, reinterpret_cast<void *>(state_new)},
    {Py_tp_dealloc, reinterpret_cast<void *>(state_dealloc)},
    {Py_sq_length, reinterpret_cast<void *>(state_length)},
    {Py_sq_item, reinterpret_cast<void *>(state_item)},
    {Py_sq_ass_item, reinterpret_cast<void *>(state_set)},
    {0, nullptr}};
PyType_Spec state_spec = {"penstock._journal._ring.State", sizeof(State), 0, Py_TPFLAGS_DEFAULT, state_slots};

// -- Counter: [next index], as the list of the Python reference -----------------------------------------------------------

struct Counter {
    PyObject_HEAD
    uint64_t value;
};

PyObject *counter_new(PyTypeObject *type, PyObject *args, PyObject *) {
    unsigned long long value;
    PyObject *number;
    if (!PyArg_ParseTuple(args, "O", &number)) return nullptr;
    value = PyLong_AsUnsignedLongLong(number);
    if (value == static_cast<unsigned long long>(-1) && PyErr_Occurred()) return nullptr;
    auto alloc = reinterpret_cast<allocfunc>(PyType_GetSlot(type, Py_tp_alloc));
    auto *self = reinterpret_cast<Counter *>(alloc(type, 0));
    if (self) self->value = value;
    return reinterpret_cast<PyObject *>(self);
}

PyObject *counter_item(PyObject *op, Py_ssize_t i) {
    if (i == 0) return PyLong_FromUnsignedLongLong(reinterpret_cast<Counter *>(op)->value);
    PyErr_SetString(PyExc_IndexError, "a counter has one item");
    return nullptr;
}

int counter_set(PyObject *op, Py_ssize_t i, PyObject *value) {
    if (i != 0 || !value) {
        PyErr_SetString(PyExc_IndexError, "a counter has one item");
        return -1;
    }
    unsigned long long number = PyLong_AsUnsignedLongLong(value);
    if (number == static_cast<unsigned long long>(-1) && PyErr_Occurred()) return -1;
    reinterpret_cast<Counter *>(op)->value = number;
    return 0;
}

Py_ssize_t counter_length(PyObject *) { return 1; }

PyType_Slot counter_slots[] = {
    {Py_tp_doc, const_cast<char *>("[next index] of a lane")},
    {Py_tp_new, reinterpret_cast<void *>(counter_new)},
    {Py_tp_dealloc, reinterpret_cast<void *>(plain_dealloc)},
    {Py_sq_length, reinterpret_cast<void *>(counter_length)},
    {Py_sq_item, reinterpret_cast<void *>(counter_item)},
    {Py_sq_ass_item, reinterpret_cast<void *>(counter_set)},
    {0, nullptr}};
PyType_Spec counter_spec = {"penstock._journal._ring.Counter", sizeof(Counter), 0, Py_TPFLAGS_DEFAULT, counter_slots};

// -- Lane: append ----------------------------------------------------------------------------------------------------------

struct Known {  // a tuple of keywords that a call site passes: the same object each time, so identity finds it
    PyObject *keywords;
    uint32_t names;
    Py_ssize_t positional;
};

struct Lane {
    PyObject_HEAD
    State *state;
    Counter *counter;
    PyObject *room, *names_of, *otherwise;  // callables: size -> bool, names -> id, fields -> object
    uint32_t track;
    Known known[4];
    unsigned next_known;
    uint32_t bare;  // the names' id of append(0.5); 0 before the first
    uint64_t seed_key_types;
    uint32_t seed_key_names, seed;
    bool seeded;
};

PyTypeObject *state_type, *counter_type;
PyObject *value_name;  // "value"

PyObject *lane_new(PyTypeObject *type, PyObject *args, PyObject *) {
    PyObject *state, *counter, *room, *names_of, *otherwise;
    unsigned int track;
    if (!PyArg_ParseTuple(args, "O!O!IOOO", state_type, &state, counter_type, &counter, &track, &room, &names_of, &otherwise))
        return nullptr;
    auto alloc = reinterpret_cast<allocfunc>(PyType_GetSlot(type, Py_tp_alloc));
    auto *self = reinterpret_cast<Lane *>(alloc(type, 0));
    if (!self) return nullptr;
    for (PyObject *each : {state, counter, room, names_of, otherwise}) Py_INCREF(each);
    self->state = reinterpret_cast<State *>(state), self->counter = reinterpret_cast<Counter *>(counter);
    self->room = room, self->names_of = names_of, self->otherwise = otherwise, self->track = track;
    return reinterpret_cast<PyObject *>(self);
}

int lane_traverse(PyObject *op, visitproc visit, void *arg) {
    auto *self = reinterpret_cast<Lane *>(op);
    Py_VISIT(object(Py_TYPE(op)));
    Py_VISIT(self->room);
    Py_VISIT(self->names_of);
    Py_VISIT(self->otherwise);
    for (Known &each : self->known) Py_VISIT(each.keywords);  // a name may be of a subclass of str, with attributes
    return 0;
}

int lane_clear(PyObject *op) {
    auto *self = reinterpret_cast<Lane *>(op);
    Py_CLEAR(self->room);
    Py_CLEAR(self->names_of);
    Py_CLEAR(self->otherwise);
    for (Known &each : self->known) Py_CLEAR(each.keywords);
    return 0;
}

void lane_dealloc(PyObject *op) {
    auto *self = reinterpret_cast<Lane *>(op);
    PyObject_GC_UnTrack(op);
    lane_clear(op);
    drop(self->state);
    drop(self->counter);
    PyTypeObject *type = Py_TYPE(op);
    reinterpret_cast<freefunc>(PyType_GetSlot(type, Py_tp_free))(op);
    Py_DECREF(object(type));
}

// Types of numpy's scalars, by pointer, as they are met.
enum Way { way_none, way_float, way_index, way_truth, way_double };  // __float__, __index__, truth, a float itself
struct Unboxed {
    PyTypeObject *type;
    Way way;
};
Unboxed unboxed[24];
int unboxed_count = 0;

bool is_one_of(PyObject *name, std::initializer_list<const char *> some) {
    for (const char *each : some)
        if (PyUnicode_CompareWithASCIIString(name, each) == 0) return true;
    return false;
}

PyObject *text_of(PyTypeObject *type, const char *attribute) {
    PyObject *found = PyObject_GetAttrString(reinterpret_cast<PyObject *>(type), attribute);
    if (!found) PyErr_Clear();  // a metaclass that hides it: then it is no type of numpy's
    if (found && !PyUnicode_Check(found)) Py_CLEAR(found);
    return found;
}

Way way_of(PyTypeObject *type) {
    if (type == &PyUnicode_Type || type == &PyDict_Type || type == &PyList_Type) return way_none;
    for (int i = 0; i < unboxed_count; i++)
        if (unboxed[i].type == type) return unboxed[i].way;
    Way way = way_none;
    PyObject *module = text_of(type, "__module__");
    PyObject *name = module && is_one_of(module, {"numpy"}) ? text_of(type, "__name__") : nullptr;
    if (name) {
        if (is_one_of(name, {"float64"}) && PyType_IsSubtype(type, &PyFloat_Type)) way = way_double;
        if (is_one_of(name, {"float16", "float32"})) way = way_float;
        if (is_one_of(name, {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"})) way = way_index;
        if (is_one_of(name, {"bool", "bool_"})) way = way_truth;
    }
    Py_XDECREF(module);
    Py_XDECREF(name);
    if (way != way_none && unboxed_count < int(sizeof unboxed / sizeof *unboxed)) {
        Py_INCREF(object(type));  // for good: these types live as long as numpy
        unboxed[unboxed_count++] = {type, way};
    }
    return way;
}

int unbox_double(PyObject *value, uint64_t *bits) {
    double number = PyFloat_AsDouble(value);  // of a float or a subclass: its 8 bytes, no code of the value's own
    std::memcpy(bits, &number, 8);
    return kFloat;
}

// The value as a type code and 8 bytes. 0: not a number that is unboxed here. -1: an exception is set.
int unbox(PyObject *value, uint64_t *bits) {
    PyTypeObject *type = Py_TYPE(value);
    if (type == &PyFloat_Type) return unbox_double(value, bits);
    if (type == &PyLong_Type) {
        int overflow;
        long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
        *bits = uint64_t(number);
        return overflow ? 0 : kInt;
    }
    if (value == Py_True || value == Py_False) {
        *bits = value == Py_True;
        return kBool;
    }
    if (value == Py_None) {
        *bits = 0;
        return kNone;
    }
    Way way = way_of(type);
    if (way == way_none) return 0;
    if (way == way_double) return unbox_double(value, bits);
    if (way == way_truth) {
        int truth = PyObject_IsTrue(value);
        *bits = uint64_t(truth);
        return truth < 0 ? -1 : kBool;
    }
    PyObject *exact = way == way_float ? PyNumber_Float(value) : PyNumber_Index(value);
    if (!exact) return -1;
    int code = 0;
    if (Py_TYPE(exact) == &PyFloat_Type || Py_TYPE(exact) == &PyLong_Type) code = unbox(exact, bits);
    Py_DECREF(exact);
    return code;
}

// Everything that is not a point of numbers: the fields as a dict, to Python, which converts, checks, and stores or raises.
PyObject *lane_otherwise(Lane *self, PyObject *const *args, Py_ssize_t positional, PyObject *keywords) {
    PyObject *fields = PyDict_New();
    if (!fields) return nullptr;
    Py_ssize_t named = keywords ? PyTuple_Size(keywords) : 0;
    if (positional && PyDict_SetItem(fields, value_name, args[0]) < 0) goto failed;
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GetItem(keywords, i);
        if (!name) goto failed;
        if (positional) {
            int twice = PyDict_Contains(fields, name);
            if (twice < 0) goto failed;
            if (twice) {
                PyErr_SetString(PyExc_TypeError, "value was given twice, once by position and once by name");
                goto failed;
            }
        }
        if (PyDict_SetItem(fields, name, args[positional + i]) < 0) goto failed;
    }
    {
        PyObject *done = PyObject_CallFunctionObjArgs(self->otherwise, fields, nullptr);
        Py_DECREF(fields);
        if (!done) return nullptr;
        Py_DECREF(done);
        return none();
    }
failed:
    Py_DECREF(fields);
    return nullptr;
}

// The id of the names of this call. 0: ask Python again in the general way. -1: an exception is set.
int64_t names_id(Lane *self, Py_ssize_t positional, PyObject *keywords) {
    if (!keywords && self->bare) return self->bare;
    for (Known &each : self->known)
        if (each.keywords == keywords && each.positional == positional && keywords) return each.names;
    Py_ssize_t named = keywords ? PyTuple_Size(keywords) : 0;
    PyObject *names = PyTuple_New(positional + named);
    if (!names) return -1;
    if (positional) {
        Py_INCREF(value_name);
        PyTuple_SetItem(names, 0, value_name);
    }
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GetItem(keywords, i);
        if (positional && PyUnicode_Compare(name, value_name) == 0) {
            Py_DECREF(names);
            return PyErr_Occurred() ? -1 : 0;
        }
        Py_INCREF(name);
        PyTuple_SetItem(names, positional + i, name);
    }
    PyObject *number = PyObject_CallFunctionObjArgs(self->names_of, names, nullptr);
    Py_DECREF(names);
    if (!number) return -1;
    unsigned long id = PyLong_AsUnsignedLong(number);
    Py_DECREF(number);
    if (id == static_cast<unsigned long>(-1) && PyErr_Occurred()) return -1;
    if (id == 0 || id > UINT32_MAX) {
        PyErr_Format(PyExc_OverflowError, "%lu is no id of field names", id);
        return -1;
    }
    if (!keywords) {
        self->bare = uint32_t(id);
    } else {
        Known &place = self->known[self->next_known++ % 4];
        PyObject *old = place.keywords;
        Py_INCREF(keywords);
        place = {keywords, uint32_t(id), positional};
        Py_XDECREF(old);
    }
    return int64_t(id);
}

PyObject *lane_append(PyObject *op, PyObject *const *args, Py_ssize_t positional, PyObject *keywords) {
    auto *self = reinterpret_cast<Lane *>(op);
    Py_ssize_t count = positional + (keywords ? PyTuple_Size(keywords) : 0);
    if (positional > 1)
        return PyErr_Format(PyExc_TypeError, "append() takes one value by position, %zd were given; name the other fields", positional);
    if (!self->room || !self->names_of || !self->otherwise) {  // a __del__ in the middle of a garbage collection
        PyErr_SetString(PyExc_RuntimeError, "this track's session is gone");
        return nullptr;
    }
    if (count == 0 || count > kMaxFields) return lane_otherwise(self, args, positional, keywords);

    uint64_t values[kMaxFields];
    uint64_t types = 0;
    for (Py_ssize_t i = 0; i < count; i++) {  // conversions may run Python code, which may append: nothing is reserved yet
        int code = unbox(args[i], &values[i]);
        if (code < 0) return nullptr;
        if (code == 0) return lane_otherwise(self, args, positional, keywords);
        types |= uint64_t(code) << (4 * i);
    }
    int64_t names = names_id(self, positional, keywords);
    if (names < 0) return nullptr;
    if (names == 0) return lane_otherwise(self, args, positional, keywords);

    unsigned char prefix[kPrefixBytes];
    const uint32_t size = kFixedBytes + 8 * uint32_t(count) + kCommitBytes;
    store<uint32_t>(prefix, size);
    prefix[4] = kPoint, prefix[5] = uint8_t(count);
    store<uint16_t>(prefix + 6, kMark);
    store<uint32_t>(prefix + 8, self->track);
    store<uint32_t>(prefix + 12, uint32_t(names));
    store<uint64_t>(prefix + 16, types);
    if (!self->seeded || self->seed_key_names != uint32_t(names) || self->seed_key_types != types) {
        self->seed = crc32_words(prefix, kPrefixBytes, 0);
        self->seed_key_names = uint32_t(names), self->seed_key_types = types, self->seeded = true;
    }
    const uint32_t seed = self->seed;  // room() below lets other appends to this lane in, and with them other seeds
    State *state = self->state;
    for (;;) {
        Py_ssize_t end = state->offset + Py_ssize_t(size);
        if (end <= state->limit && state->held) {  // from here to the return no Python code runs
            auto *record = static_cast<unsigned char *>(state->view.buf) + state->offset;
            std::memcpy(record, prefix, kPrefixBytes);
            store<uint64_t>(record + 24, self->counter->value);
            store<int64_t>(record + 32, now_ns());
            std::memcpy(record + kFixedBytes, values, 8 * size_t(count));
            uint32_t check = crc32_words(record + kPrefixBytes, size - kPrefixBytes - kCommitBytes, seed);
            __atomic_store_n(reinterpret_cast<uint64_t *>(record + size - kCommitBytes), uint64_t(kDone) << 32 | check, __ATOMIC_RELEASE);
            self->counter->value++;
            state->offset = end;
            return none();
        }
        PyObject *answer = PyObject_CallFunction(self->room, "n", Py_ssize_t(size));
        if (!answer) return nullptr;
        int again = PyObject_IsTrue(answer);
        Py_DECREF(answer);
        if (again < 0) return nullptr;
        if (!again) return none();  // dropped, and counted
    }
}

PyMethodDef lane_methods[] = {
    {"append", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(lane_append)), METH_FASTCALL | METH_KEYWORDS,
     "append(value=..., **fields): append one point; see Track.append"},
    {nullptr, nullptr, 0, nullptr}};
PyType_Slot lane_slots[] = {
    {Py_tp_doc, const_cast<char *>("Lane(state, counter, track, room, names_of, otherwise): the appends of one track")},
    {Py_tp_new, reinterpret_cast<void *>(lane_new)},
    {Py_tp_dealloc, reinterpret_cast<void *>(lane_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void *>(lane_traverse)},
    {Py_tp_clear, reinterpret_cast<void *>(lane_clear)},
    {Py_tp_methods, lane_methods},
    {0, nullptr}};
PyType_Spec lane_spec = {"penstock._journal._ring.Lane", sizeof(Lane), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, lane_slots};

// -- JSON lines: byte for byte what msgspec encodes for the same record -----------------------------------------------------

inline void put_text(std::string &out, const char *text, size_t size) { out.append(text, size); }

inline void put_int(std::string &out, int64_t value) {
    char text[24];
    auto end = std::to_chars(text, text + sizeof text, value).ptr;
    put_text(out, text, size_t(end - text));
}

inline void put_index(std::string &out, uint64_t value) {
    char text[24];
    auto end = std::to_chars(text, text + sizeof text, value).ptr;
    put_text(out, text, size_t(end - text));
}

// Shortest digits that round-trip (std::to_chars), laid out as msgspec does: plain from 1e-5 to below 1e16, else d.ddde-7.
void put_float(std::string &out, double value) {
    if (value != value) return put_text(out, "\"NaN\"", 5);
    if (value - value != 0) return value > 0 ? put_text(out, "\"Infinity\"", 10) : put_text(out, "\"-Infinity\"", 11);
    char text[40];
    auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::scientific).ptr;
    char digits[24];
    int count = 0;
    const char *at = text;
    if (*at == '-') out.push_back('-'), at++;
    for (; *at != 'e'; at++)
        if (*at != '.') digits[count++] = *at;
    int exponent = 0;
    bool negative = at[1] == '-';
    std::from_chars(at + 2, end, exponent);
    if (negative) exponent = -exponent;
    int point = exponent + 1;  // the decimal point stands behind this many digits
    if (count == 1 && digits[0] == '0') return put_text(out, "0.0", 3);
    if (point >= 1 && point <= 16) {
        if (count <= point) {
            put_text(out, digits, size_t(count));
            out.append(size_t(point - count), '0');
            put_text(out, ".0", 2);
        } else {
            put_text(out, digits, size_t(point));
            out.push_back('.');
            put_text(out, digits + point, size_t(count - point));
        }
    } else if (point > -5 && point <= 0) {
        put_text(out, "0.", 2);
        out.append(size_t(-point), '0');
        put_text(out, digits, size_t(count));
    } else {
        out.push_back(digits[0]);
        if (count > 1) {
            out.push_back('.');
            put_text(out, digits + 1, size_t(count - 1));
        }
        out.push_back('e');
        put_int(out, exponent);
    }
}

// Times as 2026-11-20T08:32:04.123456Z, rounded down; outside the years 1 to 9999 the first or last such time.
struct Times {
    int64_t second = INT64_MIN;
    char text[24];

    void put(std::string &out, int64_t ns) {
        int64_t s = ns / 1000000000, rest = ns % 1000000000;
        if (rest < 0) s--, rest += 1000000000;
        if (s < -62135596800) return put_text(out, "0001-01-01T00:00:00.000000Z", 27);
        if (s > 253402300799) return put_text(out, "9999-12-31T23:59:59.999999Z", 27);
        if (s != second) set(s);
        char tail[8];
        auto micros = int(rest / 1000);
        for (int i = 5; i >= 0; i--) tail[i] = char('0' + micros % 10), micros /= 10;
        tail[6] = 'Z';
        put_text(out, text, 20);
        put_text(out, tail, 7);
    }

    void set(int64_t s) {  // civil date of a day count, after Howard Hinnant's days_from_civil
        second = s;
        int64_t days = s / 86400, left = s % 86400;
        if (left < 0) days--, left += 86400;
        int64_t z = days + 719468;
        int64_t era = (z >= 0 ? z : z - 146096) / 146097;
        auto doe = unsigned(z - era * 146097);
        unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
        unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        unsigned mp = (5 * doy + 2) / 153;
        unsigned day = doy - (153 * mp + 2) / 5 + 1, month = mp < 10 ? mp + 3 : mp - 9;
        auto year = unsigned(int64_t(yoe) + era * 400 + (month <= 2));
        char made[64];
        std::snprintf(made, sizeof made, "%04u-%02u-%02uT%02u:%02u:%02u.", year % 10000, month, day, unsigned(left / 3600),
                      unsigned(left / 60 % 60), unsigned(left % 60));
        std::memcpy(text, made, 20);
    }
};

// -- Drainer: committed records to lines, and to the files that are open, without the GIL ----------------------------------

struct Group {
    uint32_t track = 0;
    uint64_t points = 0;
    std::string lines;
    uint64_t written_points = 0, written_bytes = 0;
    int error = 0;
};

enum class Halt { none, names, damage, enough, memory };

struct Work {
    static constexpr size_t kEnoughBytes = 8 << 20;  // lines of one call: long names make them many times their records
    static constexpr size_t kKeptBytes = 16 << 20;   // of memory that the next call uses again
    std::unordered_map<uint32_t, std::vector<std::string>> names;  // per id: the keys as `"value":`, `,"epoch":`
    std::unordered_map<uint32_t, int> files;                       // open line files, by track
    std::vector<Group> groups;                                     // kept between calls for their memory
    std::unordered_map<uint32_t, size_t> place;
    size_t used_groups = 0;
    Times times;

    Group &group(uint32_t track) {
        if (used_groups && groups[last].track == track) return groups[last];
        auto found = place.find(track);
        if (found != place.end()) return groups[last = found->second];
        if (used_groups == groups.size()) groups.emplace_back();
        last = used_groups++;
        Group &fresh = groups[last];
        fresh.track = track, fresh.points = fresh.written_points = fresh.written_bytes = 0, fresh.error = 0;
        fresh.lines.clear();
        place.emplace(track, last);
        return fresh;
    }

    void begin() {
        used_groups = 0;
        place.clear();
        size_t kept = 0;
        for (const Group &each : groups) kept += each.lines.capacity();
        if (groups.size() > 4096 || kept > kKeptBytes) groups.clear();
    }

    // Encodes the records of [at, end); stops before one that it cannot. Returns where it stopped.
    const unsigned char *encode(const unsigned char *at, const unsigned char *end, Halt *halt, uint32_t *missing) {
        size_t made = 0;
        while (at < end) {
            if (made > kEnoughBytes) return *halt = Halt::enough, at;
            if (end - at < kFixedBytes + kCommitBytes) return *halt = Halt::damage, at;
            const auto size = load<uint32_t>(at);
            const uint8_t kind = at[4], count = at[5];
            const auto extra = load<uint32_t>(at + 12);
            const bool payload = kind == kGeneral || kind == kLog;
            const uint64_t want = payload ? kFixedBytes + (uint64_t(extra) + 7) / 8 * 8 + kCommitBytes : kFixedBytes + 8 * uint64_t(count) + kCommitBytes;
            if (load<uint16_t>(at + 6) != kMark || size != want || size > end - at || (kind == kPoint ? !count || count > kMaxFields : !payload))
                return *halt = Halt::damage, at;
            const auto track = load<uint32_t>(at + 8);
            const auto index = load<uint64_t>(at + 24);
            const auto ns = load<int64_t>(at + 32);
            size_t before = 0;
            if (kind == kPoint) {
                auto keys = names.find(extra);
                if (!extra || (keys != names.end() && keys->second.size() != count)) return *halt = Halt::damage, at;
                if (keys == names.end()) return *halt = Halt::names, *missing = extra, at;
                std::string &out = group(track).lines;
                before = out.size();
                put_text(out, "{\"index\":", 9);
                put_index(out, index);
                put_text(out, ",\"data\":{", 9);
                auto types = load<uint64_t>(at + 16);
                for (uint8_t i = 0; i < count; i++, types >>= 4) {
                    out += keys->second[i];
                    const unsigned char *value = at + kFixedBytes + 8 * i;
                    switch (types & 15) {
                    case kFloat: put_float(out, load<double>(value)); break;
                    case kInt: put_int(out, load<int64_t>(value)); break;
                    case kBool: load<uint64_t>(value) ? put_text(out, "true", 4) : put_text(out, "false", 5); break;
                    default: put_text(out, "null", 4);
                    }
                }
                put_text(out, "},\"createdAt\":\"", 15);
                times.put(out, ns);
                put_text(out, "\"}\n", 3);
            } else if (kind == kGeneral) {
                std::string &out = group(track).lines;
                before = out.size();
                put_text(out, "{\"index\":", 9);
                put_index(out, index);
                put_text(out, ",\"data\":", 8);
                put_text(out, reinterpret_cast<const char *>(at + kFixedBytes), extra);
                put_text(out, ",\"createdAt\":\"", 14);
                times.put(out, ns);
                put_text(out, "\"}\n", 3);
            } else {
                if (extra < 2) return *halt = Halt::damage, at;
                std::string &out = group(track).lines;
                before = out.size();
                put_text(out, "{\"sequenceNumber\":", 18);
                put_index(out, index);
                put_text(out, ",\"timestamp\":\"", 14);
                times.put(out, ns);
                put_text(out, "\",", 2);
                put_text(out, reinterpret_cast<const char *>(at + kFixedBytes + 1), extra - 1);  // without its "{"
                out.push_back('\n');
            }
            groups[last].points++;
            made += groups[last].lines.size() - before;
            at += size;
        }
        return at;
    }

    void write() {
#ifndef _WIN32
        for (size_t i = 0; i < used_groups; i++) {
            Group &each = groups[i];
            auto file = files.find(each.track);
            if (file == files.end()) continue;
            struct stat found;
            if (fstat(file->second, &found) != 0 || found.st_nlink == 0) continue;  // removed under us: Python makes it anew
            size_t done = 0;
            while (done < each.lines.size()) {
                ssize_t took = ::write(file->second, each.lines.data() + done, each.lines.size() - done);
                if (took < 0 && errno == EINTR) continue;
                if (took <= 0) {
                    each.error = took < 0 ? errno : ENOSPC;
                    break;
                }
                done += size_t(took);
            }
            each.written_bytes = done;
            each.written_points = each.points;
            if (done < each.lines.size()) {
                each.written_points = 0;
                for (size_t k = 0; k < done; k++) each.written_points += each.lines[k] == '\n';
            }
        }
#endif
    }

  private:
    size_t last = 0;
};

struct Drainer {
    PyObject_HEAD
    Work *work;
    bool busy;  // one driver at a time; a second one (a __del__ in the middle) is refused
};

PyObject *drainer_new(PyTypeObject *type, PyObject *, PyObject *) {
    auto alloc = reinterpret_cast<allocfunc>(PyType_GetSlot(type, Py_tp_alloc));
    auto *self = reinterpret_cast<Drainer *>(alloc(type, 0));
    if (!self) return nullptr;
    self->busy = false;
    self->work = new (std::nothrow) Work;
    if (!self->work) {
        Py_DECREF(object(self));
        return PyErr_NoMemory();
    }
    return reinterpret_cast<PyObject *>(self);
}

void drainer_dealloc(PyObject *op) {
    auto *self = reinterpret_cast<Drainer *>(op);
    if (!self->busy) delete self->work;  // busy: this is a forked child, whose parent was in the middle of a drain
    plain_dealloc(op);
}

bool drainer_free(Drainer *self) {
    if (self->busy) PyErr_SetString(PyExc_RuntimeError, "this drainer is at work on another thread");
    return !self->busy;
}

PyObject *drainer_define(PyObject *op, PyObject *args) {
    auto *self = reinterpret_cast<Drainer *>(op);
    unsigned int id;
    PyObject *keys;
    if (!drainer_free(self) || !PyArg_ParseTuple(args, "IO!", &id, &PyTuple_Type, &keys)) return nullptr;
    try {
        std::vector<std::string> made;
        for (Py_ssize_t i = 0; i < PyTuple_Size(keys); i++) {
            char *text;
            Py_ssize_t size;
            if (PyBytes_AsStringAndSize(PyTuple_GetItem(keys, i), &text, &size) < 0) return nullptr;
            made.push_back((i ? "," : "") + std::string(text, size_t(size)) + ":");
        }
        self->work->names[id] = std::move(made);
    } catch (...) {
        return PyErr_NoMemory();
    }
    return none();
}

PyObject *drainer_attach(PyObject *op, PyObject *args) {
    auto *self = reinterpret_cast<Drainer *>(op);
    unsigned int track;
    int fd;
    if (!drainer_free(self) || !PyArg_ParseTuple(args, "Ii", &track, &fd)) return nullptr;
    try {
        if (fd < 0)
            self->work->files.erase(track);
        else
            self->work->files[track] = fd;
    } catch (...) {
        return PyErr_NoMemory();
    }
    return none();
}

// Builds [(track, points, bytes written, points left, bytes left, errno)].
PyObject *drained(Work *work) {
    PyObject *list = PyList_New(Py_ssize_t(work->used_groups));
    if (!list) return nullptr;
    for (size_t i = 0; i < work->used_groups; i++) {
        const Group &each = work->groups[i];
        PyObject *left = PyBytes_FromStringAndSize(each.lines.data() + each.written_bytes, Py_ssize_t(each.lines.size() - each.written_bytes));
        PyObject *row = left ? Py_BuildValue("IKnKNi", each.track, static_cast<unsigned long long>(each.written_points), Py_ssize_t(each.written_bytes),
                                             static_cast<unsigned long long>(each.points - each.written_points), left, each.error)
                             : nullptr;
        if (!row) {
            Py_DECREF(list);
            return nullptr;
        }
        PyList_SetItem(list, Py_ssize_t(i), row);
    }
    return list;
}

PyObject *drainer_drain(PyObject *op, PyObject *args) {
    auto *self = reinterpret_cast<Drainer *>(op);
    PyObject *source;
    Py_ssize_t start, stop;
    if (!drainer_free(self) || !PyArg_ParseTuple(args, "Onn", &source, &start, &stop)) return nullptr;
    Py_buffer view;
    if (PyObject_GetBuffer(source, &view, PyBUF_SIMPLE) < 0) return nullptr;
    if (start < 0 || stop < start || stop > view.len) {
        PyErr_Format(PyExc_ValueError, "[%zd, %zd) lies outside the %zd bytes", start, stop, view.len);
        PyBuffer_Release(&view);
        return nullptr;
    }
    Work *work = self->work;
    Halt halt = Halt::none;
    uint32_t missing = 0;
    auto *base = static_cast<const unsigned char *>(view.buf);
    const unsigned char *at = base + start;
    self->busy = true;
    Py_BEGIN_ALLOW_THREADS;
    try {
        work->begin();
        at = work->encode(at, base + stop, &halt, &missing);
        work->write();
    } catch (...) {  // no memory, or a line longer than a string can be: nothing of this call was written
        halt = Halt::memory;
    }
    Py_END_ALLOW_THREADS;
    self->busy = false;
    PyBuffer_Release(&view);
    if (halt == Halt::memory) return PyErr_NoMemory();
    PyObject *rows = drained(work);
    if (!rows) return nullptr;
    return Py_BuildValue("nOIN", Py_ssize_t(at - base), halt == Halt::damage ? Py_True : Py_False, missing, rows);
}

PyObject *zero(PyObject *, PyObject *args) {
    Py_buffer view;
    PyObject *target;
    Py_ssize_t start, stop;
    if (!PyArg_ParseTuple(args, "Onn", &target, &start, &stop)) return nullptr;
    if (PyObject_GetBuffer(target, &view, PyBUF_WRITABLE) < 0) return nullptr;
    bool good = start >= 0 && stop >= start && stop <= view.len;
    if (good) {
        Py_BEGIN_ALLOW_THREADS;
        std::memset(static_cast<char *>(view.buf) + start, 0, size_t(stop - start));
        Py_END_ALLOW_THREADS;
    } else {
        PyErr_Format(PyExc_ValueError, "[%zd, %zd) lies outside the %zd bytes", start, stop, view.len);
    }
    PyBuffer_Release(&view);
    if (!good) return nullptr;
    return none();
}

// Maps the pages of [start, stop) for writing before a producer meets them: a first store costs it 3 us on ext4. Adds nothing to
// the bytes, so producers may be at work there.
PyObject *populate(PyObject *, PyObject *args) {
    Py_buffer view;
    PyObject *target;
    Py_ssize_t start, stop;
    if (!PyArg_ParseTuple(args, "Onn", &target, &start, &stop)) return nullptr;
    if (PyObject_GetBuffer(target, &view, PyBUF_WRITABLE) < 0) return nullptr;
    bool good = start >= 0 && stop >= start && stop <= view.len;
    if (good) {
        Py_BEGIN_ALLOW_THREADS;
        auto *bytes = static_cast<unsigned char *>(view.buf);
        for (Py_ssize_t at = start; at < stop; at += 4096) __atomic_fetch_or(bytes + at, 0, __ATOMIC_RELAXED);
        Py_END_ALLOW_THREADS;
    } else {
        PyErr_Format(PyExc_ValueError, "[%zd, %zd) lies outside the %zd bytes", start, stop, view.len);
    }
    PyBuffer_Release(&view);
    if (!good) return nullptr;
    return none();
}

PyMethodDef drainer_methods[] = {
    {"define", drainer_define, METH_VARARGS, "define(id, keys): the field names of an id, each a JSON string as bytes"},
    {"attach", drainer_attach, METH_VARARGS, "attach(track, fd): write the track's lines there; fd -1: give them back instead"},
    {"drain", drainer_drain, METH_VARARGS,
     "drain(buffer, start, stop) -> (where it stopped, damaged, names id that is missing or 0, [(track, points written, bytes "
     "written, points left, bytes left, errno)])"},
    {nullptr, nullptr, 0, nullptr}};
PyType_Slot drainer_slots[] = {
    {Py_tp_doc, const_cast<char *>("Committed records to JSON lines and to open files, without the GIL")},
    {Py_tp_new, reinterpret_cast<void *>(drainer_new)},
    {Py_tp_dealloc, reinterpret_cast<void *>(drainer_dealloc)},
    {Py_tp_methods, drainer_methods},
    {0, nullptr}};
PyType_Spec drainer_spec = {"penstock._journal._ring.Drainer", sizeof(Drainer), 0, Py_TPFLAGS_DEFAULT, drainer_slots};

// -- Lookup: session.track(name) at the cost of a dict look-up ----------------------------------------------------------------

struct Lookup {
    PyObject_HEAD
    PyObject *known, *otherwise;
};

PyObject *lookup_new(PyTypeObject *type, PyObject *args, PyObject *) {
    PyObject *known, *otherwise;
    if (!PyArg_ParseTuple(args, "O!O", &PyDict_Type, &known, &otherwise)) return nullptr;
    auto alloc = reinterpret_cast<allocfunc>(PyType_GetSlot(type, Py_tp_alloc));
    auto *self = reinterpret_cast<Lookup *>(alloc(type, 0));
    if (!self) return nullptr;
    Py_INCREF(known);
    Py_INCREF(otherwise);
    self->known = known, self->otherwise = otherwise;
    return reinterpret_cast<PyObject *>(self);
}

int lookup_traverse(PyObject *op, visitproc visit, void *arg) {
    auto *self = reinterpret_cast<Lookup *>(op);
    Py_VISIT(object(Py_TYPE(op)));
    Py_VISIT(self->known);
    Py_VISIT(self->otherwise);
    return 0;
}

int lookup_clear(PyObject *op) {
    auto *self = reinterpret_cast<Lookup *>(op);
    Py_CLEAR(self->known);
    Py_CLEAR(self->otherwise);
    return 0;
}

void lookup_dealloc(PyObject *op) {
    PyObject_GC_UnTrack(op);
    lookup_clear(op);
    PyTypeObject *type = Py_TYPE(op);
    reinterpret_cast<freefunc>(PyType_GetSlot(type, Py_tp_free))(op);
    Py_DECREF(object(type));
}

PyObject *lookup_get(PyObject *op, PyObject *const *args, Py_ssize_t positional, PyObject *keywords) {
    auto *self = reinterpret_cast<Lookup *>(op);
    if (!self->known || !self->otherwise) {  // a __del__ in the middle of a garbage collection
        PyErr_SetString(PyExc_RuntimeError, "this session is gone");
        return nullptr;
    }
    if (positional == 1 && !keywords && PyUnicode_Check(args[0])) {
        PyObject *found = PyDict_GetItemWithError(self->known, args[0]);
        if (found) {
            Py_INCREF(found);
            return found;
        }
        if (PyErr_Occurred()) return nullptr;
    }
    PyObject *rest = PyTuple_New(positional);
    PyObject *named = keywords ? PyDict_New() : nullptr;
    PyObject *result = nullptr;
    if (!rest || (keywords && !named)) goto done;
    for (Py_ssize_t i = 0; i < positional; i++) {
        Py_INCREF(args[i]);
        PyTuple_SetItem(rest, i, args[i]);
    }
    for (Py_ssize_t i = 0; keywords && i < PyTuple_Size(keywords); i++)
        if (PyDict_SetItem(named, PyTuple_GetItem(keywords, i), args[positional + i]) < 0) goto done;
    result = PyObject_Call(self->otherwise, rest, named);
done:
    Py_XDECREF(rest);
    Py_XDECREF(named);
    return result;
}

PyMethodDef lookup_methods[] = {
    {"get", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(lookup_get)), METH_FASTCALL | METH_KEYWORDS,
     "get($self, name=None, description=None, tags=None, metadata=None)\n--\n\n"
     "What is known by that name, or whatever `otherwise` returns for the same call; see Session.track"},
    {nullptr, nullptr, 0, nullptr}};
PyType_Slot lookup_slots[] = {
    {Py_tp_doc, const_cast<char *>("Lookup(known, otherwise): a dict look-up that falls back to a call")},
    {Py_tp_new, reinterpret_cast<void *>(lookup_new)},
    {Py_tp_dealloc, reinterpret_cast<void *>(lookup_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void *>(lookup_traverse)},
    {Py_tp_clear, reinterpret_cast<void *>(lookup_clear)},
    {Py_tp_methods, lookup_methods},
    {0, nullptr}};
PyType_Spec lookup_spec = {"penstock._journal._ring.Lookup", sizeof(Lookup), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, lookup_slots};

PyObject *clock_ns(PyObject *, PyObject *) { return PyLong_FromLongLong(now_ns()); }

PyMethodDef module_methods[] = {
    {"clock_ns", clock_ns, METH_NOARGS, "The wall clock that appends use, in ns since 1970"},
    {"populate", populate, METH_VARARGS, "populate(buffer, start, stop): map these pages for writing, without the GIL"},
    {"zero", zero, METH_VARARGS, "zero(buffer, start, stop): set these bytes to zero, without the GIL"},
    {nullptr, nullptr, 0, nullptr}};

PyTypeObject *lane_type, *drainer_type, *lookup_type;

// Types are made once: a second import (after somebody emptied sys.modules) shows the same ones.
bool add_type(PyObject *module, PyTypeObject **made, PyType_Spec *spec) {
    if (!*made) *made = reinterpret_cast<PyTypeObject *>(PyType_FromSpec(spec));
    return *made && PyModule_AddType(module, *made) == 0;
}

int module_exec(PyObject *module) {
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0) {
        PyErr_SetString(PyExc_ImportError, "penstock runs in the main interpreter only: sub-interpreters are not supported");
        return -1;
    }
    if (!value_name) value_name = PyUnicode_InternFromString("value");
    bool made = value_name && add_type(module, &state_type, &state_spec) && add_type(module, &counter_type, &counter_spec) &&
                add_type(module, &lane_type, &lane_spec) && add_type(module, &drainer_type, &drainer_spec) &&
                add_type(module, &lookup_type, &lookup_spec);
#ifdef PENSTOCK_TSC
    wall.usable = tsc_is_trusted();
#endif
    return made ? 0 : -1;
}

// Two phases, so that each interpreter runs module_exec: one-phase modules are handed to sub-interpreters as they are.
PyModuleDef_Slot module_slots[] = {{Py_mod_exec, reinterpret_cast<void *>(module_exec)}, {0, nullptr}};
PyModuleDef module_def = {PyModuleDef_HEAD_INIT, "penstock._journal._ring", "The ring's C core: see _ring.cpp.", 0, module_methods,
                          module_slots, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__ring(void) { return PyModuleDef_Init(&module_def); }
