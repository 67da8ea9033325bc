// An image with a key: what is learned changes by the device's own doing, or by a state that the
// holder of the key has signed. Such a state is put together here, and used only once it is whole
// and verified: it takes as many bytes of RAM once more.
// SPDX-License-Identifier: Apache-2.0
#ifdef SPK_SIGNED

#include "spk_agent.h"
#include "spk_board.h"
#include "spk_model.h"

static struct {
    uint32_t bytes;   // of the state that have come, in order
    uint32_t counter; // of the newest state that was taken over; 0 = none
} sealed;

int spk_signed_serves(uint8_t type) {
    return type < 32 && (SPK_KEYED_TYPES >> type & 1);
}

uint32_t spk_signed_counter(void) {
    return sealed.counter;
}

void spk_signed_restored(uint32_t counter) {
    sealed.counter = counter;
}

enum spk_status spk_signed_put(const struct spk_request *request, struct spk_reply *reply) {
    reply->detail = request->size;
    if (request->size < SPK_SIGNED_PUT_BYTES) {
        return SPK_STATUS_BAD_LEN;
    }
    const uint32_t offset = spk_load32(request->data + SPK_SIGNED_PUT_OFFSET_AT);
    const uint8_t *from = request->data + SPK_SIGNED_PUT_DATA_AT;
    uint32_t size = request->size - SPK_SIGNED_PUT_BYTES;

    if (offset == 0) {
        sealed.bytes = 0;
    }
    reply->detail = sealed.bytes;
    if (offset != sealed.bytes) {
        return SPK_STATUS_BAD_STATE;
    }
    if (size > spk_signed_bytes - sealed.bytes) {
        sealed.bytes = 0;
        reply->detail += size;
        return SPK_STATUS_SIGNATURE;
    }
    while (size--) {
        spk_signed_state[sealed.bytes++] = *from++;
    }
    return SPK_STATUS_OK;
}

enum spk_status spk_signed_take(struct spk_reply *reply) {
    const uint32_t bytes = sealed.bytes;

    sealed.bytes = 0; // it is taken once, or refused
    spk_board_alive();
    switch (spk_model_take_signed(bytes, &sealed.counter)) {
    case SPK_TAKEN:
        return SPK_STATUS_OK;
    case SPK_NOT_ADMITTED:
        reply->detail = bytes;
        return SPK_STATUS_RANGE;
    case SPK_TOO_OLD:
        reply->detail = sealed.counter;
        return SPK_STATUS_OLD;
    default:
        reply->detail = bytes;
        return SPK_STATUS_SIGNATURE;
    }
}

#else
typedef int spk_signed_is_for_images_with_a_key; // a file may not be empty
#endif
