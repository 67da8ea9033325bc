// Trace builds: digests of what each operator wrote, and the stop inside a step.
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
    uint32_t began; // board ticks when it was armed
    uint32_t ticks; // spent in spk_probe since, and in pauses
    uint32_t left;  // board ticks when the pause began
    uint8_t stopped;
} trace;

static const struct spk_tensor *trace_tensor(void) {
    for (uint32_t i = 0; i < spk_model.tensor_count; i++) {
        if (spk_model.tensors[i].kind == SPK_DIGESTS) {
            return &spk_model.tensors[i];
        }
    }
    return 0;
}

void spk_trace_start(void) {
    const struct spk_tensor *table = trace_tensor();

    if (table) {
        uint32_t *cell = table->data; // (steps, traced)
        for (uint32_t i = 0; i < table->bytes / 4; i++) {
            cell[i] = 0;
        }
    }
}

void spk_trace_arm(uint32_t flags, uint32_t step, uint32_t op) {
    trace.flags = flags;
    trace.stop_step = step;
    trace.stop_op = op;
    trace.stopped = 0;
    trace.ticks = 0;
    spk_board_ticks_begin();
    trace.began = spk_board_ticks();
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
    trace.ticks += spk_board_ticks() - before;
    return trace.stopped;
}

#else
typedef int spk_probe_is_for_trace_builds; // a file may not be empty
#endif
