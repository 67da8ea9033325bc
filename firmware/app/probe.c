// Trace builds: digests of what each operator wrote, counts of work, and the stop inside a step.
// SPDX-License-Identifier: Apache-2.0
#ifdef SPK_TRACE

#include "spk_agent.h"
#include "spk_board.h"
#include "spk_link.h"
#include "spk_model.h"

static struct {
    uint32_t flags; // of RUN
    uint32_t stop_step;
    uint32_t stop_op;
    uint32_t began; // board ticks when it was armed, or what runs then began
    uint32_t ticks; // spent in spk_probe since, and in pauses
    uint32_t left;  // board ticks when the pause began
    uint8_t stopped;
    uint8_t armed; // and nothing has run since
} trace;

uint8_t spk_trace_counting;

static const struct spk_tensor *trace_tensor(void) {
    for (uint32_t i = 0; i < spk_model.tensor_count; i++) {
        if (spk_model.tensors[i].kind == SPK_DIGESTS) {
            return &spk_model.tensors[i];
        }
    }
    return 0;
}

void spk_trace_start(void) {
    for (uint32_t i = 0; i < spk_model.tensor_count; i++) {
        const struct spk_tensor *tensor = &spk_model.tensors[i];
        if (tensor->kind == SPK_DIGESTS || tensor->kind == SPK_COUNTS) {
            uint32_t *cell = tensor->data; // (bytes / 4,)
            for (uint32_t k = 0; k < tensor->bytes / 4; k++) {
                cell[k] = 0;
            }
        }
    }
}

void spk_trace_arm(uint32_t flags, uint32_t step, uint32_t op) {
    trace.flags = flags;
    spk_trace_counting = !(flags & SPK_RUN_TICKS);
    trace.stop_step = step;
    trace.stop_op = op;
    trace.stopped = 0;
    trace.ticks = 0;
    spk_board_ticks_begin();
    trace.began = spk_board_ticks();
    trace.armed = 1;
}

uint32_t spk_trace_begin(void) {
    const uint32_t now = spk_board_ticks();

    if (trace.armed) {
        trace.began = now;
        trace.armed = 0;
    }
    return now - trace.ticks;
}

void spk_trace_pause(void) {
    trace.left = spk_board_ticks();
}

void spk_trace_resume(void) {
    trace.ticks += spk_board_ticks() - trace.left;
}

uint32_t spk_trace_spent(void) {
    return trace.left - trace.began - trace.ticks;
}

int spk_trace_stopped(void) {
    return trace.stopped;
}

uint32_t spk_trace_ticks(void) {
    return trace.ticks;
}

// The bits of element i; bytes: of an element, 0 for a bit.
static uint32_t element(const void *data, uint32_t i, uint32_t bytes) {
    switch (bytes) {
    case 0:
        return ((const uint32_t *)data)[i / 32] >> i % 32 & 1;
    case 1:
        return ((const uint8_t *)data)[i];
    case 2:
        return ((const uint16_t *)data)[i];
    default:
        return ((const uint32_t *)data)[i];
    }
}

static void copy(const struct spk_counter *counter) {
    const uint32_t bits = counter->elements * (counter->bytes ? 8u * counter->bytes : 1u);
    const uint8_t *data = counter->data; // (bits / 8,)
    uint8_t *before = counter->before;

    for (uint32_t i = 0; i < (bits + 7) / 8; i++) {
        before[i] = data[i];
    }
}

static uint64_t counted(const struct spk_counter *counter, uint32_t t) {
    uint64_t sum = 0;

    for (uint32_t i = 0; i < counter->elements; i++) {
        const uint32_t value = element(counter->data, i, counter->bytes);
        const uint32_t rest = counter->before ? element(counter->before, i, counter->bytes) : 0;
        if (value != rest || (counter->before && t == 0)) {
            sum += counter->weights ? element(counter->weights, i, counter->weight_bytes) : 1;
        }
    }
    return sum;
}

static void serve_counters(uint32_t t, uint32_t place) {
    for (uint32_t i = 0; i < spk_model.counter_count; i++) {
        const struct spk_counter *counter = &spk_model.counters[i];
        if (counter->place == place && counter->count) {
            *counter->count += counted(counter, t);
        } else if (counter->place == place) {
            copy(counter);
        }
    }
}

void spk_trace_count(uint32_t t, uint32_t place) {
    const uint32_t before = spk_board_ticks();

    serve_counters(t, place);
    trace.ticks += spk_board_ticks() - before;
}

int spk_probe(uint32_t t, uint32_t op) {
    const uint32_t before = spk_board_ticks();
    const uint32_t spent = before - trace.began - trace.ticks;
    const int timed = (trace.flags & SPK_RUN_TICKS) != 0;
    const struct spk_tensor *table = trace_tensor();
    uint32_t column = 0;

    for (uint32_t i = 0; table && i < spk_model.tensor_count; i++) {
        const struct spk_tensor *tensor = &spk_model.tensors[i];
        if (tensor->op == SPK_NO_OP) {
            continue;
        }
        if (tensor->op == op && t < table->dims[0] && column < table->dims[1]) {
            uint32_t *row = (uint32_t *)table->data + t * table->dims[1]; // (traced,)
            row[column] = timed ? spent : spk_crc32(0, tensor->data, tensor->bytes);
        }
        column++;
    }
    if ((trace.flags & SPK_RUN_STOP) && t == trace.stop_step && op == trace.stop_op) {
        trace.stopped = 1;
    }
    if (!timed) {
        serve_counters(t, op);
    }
    trace.ticks += spk_board_ticks() - before;
    return trace.stopped;
}

#else
typedef int spk_probe_is_for_trace_builds; // a file may not be empty
#endif
