// CRCs: of the model's constants, whether a device still holds what it was given; of its outputs
// and states. And the outputs themselves, where a reply has room for them.
// SPDX-License-Identifier: Apache-2.0
#include "spk_agent.h"
#include "spk_frame.h"
#include "spk_model.h"

// Where `spikelet cycles`, which runs a model without its agent, looks for them in an image.
#define SPK_LIES_AT(type, field, place)                                                            \
    _Static_assert(sizeof(void *) != 4 || __builtin_offsetof(struct type, field) == (place),       \
                   "pytools/spikelet/run/cycles/execute.py reads " #field)
SPK_LIES_AT(spk_model, tensors, 8);
SPK_LIES_AT(spk_tensor, name, 0);
SPK_LIES_AT(spk_tensor, data, 4);
#ifdef SPK_EXIT
SPK_LIES_AT(spk_model, unsure, 36);
#endif

// The model as it lies in memory, not as it was when the image was made. Seed and first byte are
// the host's choice: no answer that was computed before fits.
enum spk_status spk_constants_serve(const uint8_t *data, struct spk_reply *reply) {
    const struct spk_constant *constant = spk_model.constants;
    uint32_t crc = spk_load32(data + SPK_CONSTANTS_SEED_AT);
    uint32_t skip = spk_load32(data + SPK_CONSTANTS_FIRST_AT);
    uint32_t left = spk_load32(data + SPK_CONSTANTS_SIZE_AT);
    uint32_t count = spk_model.constant_count;

    if (skip > spk_model.constant_bytes || left > spk_model.constant_bytes) {
        reply->detail = skip;
        return SPK_STATUS_RANGE;
    }
    for (uint32_t i = 2 * count; i && left; i--) { // at most twice around
        if (skip < constant->bytes) {
            const uint32_t size = left < constant->bytes - skip ? left : constant->bytes - skip;
            const uint8_t *at =
                constant->pointed ? *(const spk_table *)constant->data : constant->data;
            crc = spk_crc32(crc, at + skip, size);
            left -= size;
            skip = 0;
        } else {
            skip -= constant->bytes;
        }
        constant = i == count + 1 ? spk_model.constants : constant + 1;
    }
    spk_put(reply, crc, 4);
    return SPK_STATUS_OK;
}

static uint32_t crc_of(enum spk_kind kind, uint32_t crc) {
    for (uint32_t i = 0; i < spk_model.tensor_count; i++) {
        const struct spk_tensor *tensor = &spk_model.tensors[i];
        if (tensor->kind == kind) {
            crc = spk_crc32(crc, tensor->data, tensor->bytes);
        }
    }
    return crc;
}

uint32_t spk_outputs_crc(void) {
    return crc_of(SPK_OUTPUT, 0);
}

uint32_t spk_outputs_crc_from(uint32_t crc) {
    return crc_of(SPK_OUTPUT, crc);
}

#ifdef SPK_TRACE
#define CHECKED SPK_DIGESTS
#else
#define CHECKED SPK_STATE
#endif

void spk_put_results(struct spk_reply *reply, int states, int outputs, uint32_t head) {
    spk_put(reply, states ? crc_of(CHECKED, 0) : 0, 4);
    uint8_t *const begin = reply->at, *const end = begin + SPK_LINK_PAYLOAD - head;
    for (uint32_t i = 0; i < spk_model.tensor_count && outputs; i++) {
        const struct spk_tensor *tensor = &spk_model.tensors[i];
        if (tensor->kind == SPK_OUTPUT) {
            if (tensor->bytes > (uint32_t)(end - reply->at)) {
                reply->at = begin;
                return;
            }
            spk_put_bytes(reply, tensor->data, tensor->bytes);
        }
    }
}
