// Golden samples at boot: whether this core, with these constants and what was learned, still
// computes what it did when that was committed, or what golden computes.
// SPDX-License-Identifier: Apache-2.0
#ifdef SPK_SELF_TEST

#include "spk_agent.h"
#include "spk_board.h"
#include "spk_frame.h"
#include "spk_model.h"

static const uint8_t *fill(const struct spk_tensor *tensor, const uint8_t *from) {
    uint8_t *to = tensor->data;

    for (uint32_t i = 0; i < tensor->bytes; i++) {
        to[i] = *from++;
    }
    return from;
}

static int is_stream(const struct spk_tensor *tensor) {
#ifdef SPK_EVENTS
    return tensor == spk_model.stream;
#else
    (void)tensor;
    return 0;
#endif
}

static int is_sure(void) {
#ifdef SPK_EXIT
    return *spk_model.unsure == 0;
#else
    return 0;
#endif
}

// Runs the sample at `from`; where the next one begins.
static const uint8_t *run(const uint8_t *from) {
    const struct spk_tensor *stream = 0;
    const uint8_t *frames = 0;

    for (uint32_t i = 0; i < spk_model.tensor_count; i++) {
        const struct spk_tensor *tensor = &spk_model.tensors[i];
        if (is_stream(tensor)) {
            stream = tensor;
            frames = from;
            from += spk_model.steps * tensor->bytes;
        } else if (tensor->kind == SPK_INPUT) {
            from = fill(tensor, from);
        }
    }
#ifdef SPK_TRACE
    spk_trace_arm(0, 0, 0);
#endif
    spk_model_start();
    int sure = 0;
    for (uint32_t t = 0; t < spk_model.steps && !sure; t++) {
        if (stream) {
            frames = fill(stream, frames);
        }
        spk_model_step(t);
        sure = is_sure();
    }
    spk_model_finish();
    return from;
}

// As if nothing had been run, nor any input been written.
static void clear(void) {
    for (uint32_t i = 0; i < spk_model.tensor_count; i++) {
        const struct spk_tensor *tensor = &spk_model.tensors[i];
        if (tensor->kind != SPK_LEARNED) {
            uint8_t *data = tensor->data;
            for (uint32_t byte = 0; byte < tensor->bytes; byte++) {
                data[byte] = 0;
            }
        }
    }
    *spk_model.saturations = 0;
}

uint32_t spk_self_test_digest(void) {
    const uint8_t *sample = spk_model.self_test->samples;
    uint32_t crc = 0;

    for (uint32_t i = 0; i < spk_model.self_test->count; i++) {
        sample = run(sample);
        crc = spk_outputs_crc_from(crc);
        spk_board_alive();
    }
    clear();
    return crc;
}

#else
typedef int spk_self_test_is_for_models_that_learn; // a file may not be empty
#endif
