// What a generated model.c offers to the agent: a set of named tensors and three calls.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_MODEL_H
#define SPK_MODEL_H

#include <stdint.h>

// Wire codes: the host's spikelet.graph.tensor holds the same numbers.
enum spk_dtype {
    SPK_BIT = 0, // packed, least significant bit first, in 32-bit words; padding bits are 0
    SPK_U8 = 1,
    SPK_I8 = 2,
    SPK_I16 = 3,
    SPK_I32 = 4,
    SPK_U32 = 5,
    SPK_F32 = 6,
    SPK_F16 = 7,
};

enum spk_kind {
    SPK_INPUT = 0, // its memory may be shared once the last step is done
    SPK_OUTPUT = 1,
    SPK_STATE = 2,      // survives from step to step
    SPK_ACTIVATION = 3, // listed in a trace build only; its memory may be shared
    SPK_DIGESTS = 4,    // trace build only: CRC-32 per (step, traced tensor)
    SPK_LEARNED = 5,    // survives samples; learn() and commit() change it
    SPK_TARGET = 6,     // read by learn()
    SPK_COUNTS = 7,     // trace build only: a uint64_t of each counter, since the run began
};

enum { SPK_NO_OP = 0xFFFF, SPK_MAX_RANK = 4 };

// Where something is counted: behind the operator of this number, or in front of all operators of
// spk_model_start(), of a step, of spk_model_finish().
enum { SPK_AT_START = 0xFFFC, SPK_AT_STEP = 0xFFFD, SPK_AT_FINISH = 0xFFFE };

// Trace build only: elements of a tensor that are not 0 are counted, or that have changed.
struct spk_counter {
    uint64_t *count;     // NULL: nothing is counted, data is copied to `before`
    const void *data;    // (elements,)
    const void *weights; // (elements,) what each of them counts; NULL: 1
    void *before;        // (elements,) as they were; in step 0 all count as changed
    uint32_t elements;
    uint16_t place;
    uint8_t bytes;        // of an element; 0: they are bits, as those of SPK_BIT
    uint8_t weight_bytes; // 1, 2 or 4
};

struct spk_tensor {
    const char *name;
    void *data;
    uint32_t bytes;
    uint8_t dtype;               // enum spk_dtype
    uint8_t kind;                // enum spk_kind
    uint16_t op;                 // index of the operator that writes it, or SPK_NO_OP
    uint8_t rank;                // dimensions in use
    uint16_t dims[SPK_MAX_RANK]; // elements
    float scale;                 // real = (code - zero_point) * scale
    int32_t zero_point;
    int32_t low; // what a host writes lies between them, ends included, both as spk_order() has it
    int32_t high;
#ifdef SPK_CHOICES
    uint32_t choices; // bit v: it may hold v, and nothing else; 0: anything from low to high
#endif
};

// What kernels read: a table (weights, biases, thresholds, lookup tables, initial values), or the
// numbers between two pointers of a kernel's attributes.
struct spk_constant {
    const void *data;
    uint32_t bytes : 31;
    uint32_t pointed : 1; // data is where the pointer lies by which a kernel finds the table
};
typedef const uint8_t *__attribute__((may_alias)) spk_table; // such a pointer

// The bits of a value as a number that compares as the values of its type do; those of a narrower
// type are widened as that type is. Infinities, and what is not a number, lie beyond all finite
// values.
static inline int32_t spk_order(uint32_t bits, enum spk_dtype dtype) {
    switch (dtype) {
    case SPK_U32:
        return (int32_t)(bits ^ 0x80000000u);
    case SPK_F32:
        return bits >> 31 ? -(int32_t)(bits & 0x7FFFFFFFu) : (int32_t)bits;
    case SPK_F16:
        return bits >> 15 ? -(int32_t)(bits & 0x7FFFu) : (int32_t)bits;
    default:
        return (int32_t)bits;
    }
}

// Golden samples, which a device runs when it boots, and what they gave on the host.
struct spk_self_test {
    const uint8_t *samples; // of each sample each input in the table's order, of `stream` all steps
    uint32_t digest;        // CRC-32 over the outputs, with what was learned as load() leaves it
    uint16_t id;            // of the samples; not 0
    uint8_t count;
};

struct spk_model {
    const char *name;
    const uint8_t *package_sha256;    // (32,)
    const struct spk_tensor *tensors; // (tensor_count,)
    uint16_t tensor_count;
    uint16_t steps; // time steps of one inference
    uint32_t arena_bytes;
    uint32_t constant_bytes; // of all constants
    uint16_t constant_count;
    const struct spk_constant *constants; // (constant_count,) in the order of the host's own list
    uint32_t *saturations;                // since the last start
#ifdef SPK_EXIT
    const uint8_t *unsure; // 0 behind a step: the answer is sure, no further step is run
#endif
#ifdef SPK_EVENTS
    const struct spk_tensor *stream; // the input that has other values in each step
#endif
#ifdef SPK_LEARN
    int32_t *label;  // target of learn(), 0 <= label < classes; NULL where it takes none
    int32_t classes; // 0 where it takes no label
#endif
#ifdef SPK_SELF_TEST
    const struct spk_self_test *self_test;
#endif
#ifdef SPK_TRACE
    const struct spk_counter *counters; // (counter_count,) in the order in which they are served
    uint32_t counter_count;
#endif
};

extern const struct spk_model spk_model;

// Functions, not pointers in the table: who calls whom is known when an image is linked, and so how
// deep its stack can grow.
void spk_model_start(void);      // reset the states, run what does not depend on time
void spk_model_step(uint32_t t); // one time step, 0 <= t < steps
void spk_model_finish(void);     // run what needs all steps
#ifdef SPK_KEEP
void spk_model_resume(void); // as start, and the neurons' states stay as they are
#endif
#ifdef SPK_LEARN
void spk_model_load(void);   // the learned tensors as they were before anything was learned
void spk_model_learn(void);  // from the sample that was run, and its label or targets
void spk_model_commit(void); // consolidate what was learned
#endif
#ifdef SPK_SIGNED
enum spk_taken {
    SPK_TAKEN = 0,
    SPK_NOT_ADMITTED = -3, // signed, but of another model, or with a value out of its range
    SPK_NOT_SIGNED = -4,
    SPK_TOO_OLD = -5,
};
extern uint8_t spk_signed_state[];      // (spk_signed_bytes,) where a signed state is put together
extern const uint32_t spk_signed_bytes; // what a whole one has
// Takes over the first `bytes` bytes of it, if the holder of the key has signed them and their
// counter is not lower than `counter`, which becomes theirs; enum spk_taken.
int spk_model_take_signed(uint32_t bytes, uint32_t *counter);
#endif

// In a trace build the model calls spk_probe after each operator; it digests what the operator
// wrote and answers 1 when the run is to stop there, with every tensor as the operator left it.
#ifdef SPK_TRACE
int spk_probe(uint32_t t, uint32_t op);
#define SPK_PROBE(t, op)                                                                           \
    do {                                                                                           \
        if (spk_probe(t, op)) {                                                                    \
            return;                                                                                \
        }                                                                                          \
    } while (0)
#else
#define SPK_PROBE(t, op) ((void)0)
#endif

#endif
