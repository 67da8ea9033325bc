// HELLO: what the device is, and its tensor table. SPDX-License-Identifier: Apache-2.0
#include "spk_agent.h"
#include "spk_board.h"
#include "spk_link.h"
#include "spk_model.h"

enum {
    TEXT_MAX = 48,                    // bytes of a name
    REPLY_MAX = SPK_LINK_PAYLOAD - 1, // bytes after the status
    ENTRY_MAX = SPK_ENTRY_BYTES + 2 * SPK_MAX_RANK + 1 + TEXT_MAX,
};

_Static_assert(SPK_HELLO_REPLY_BYTES + SPK_FACTS_BYTES + 2 * (1 + TEXT_MAX) <= SPK_LINK_PAYLOAD,
               "HELLO's facts fit one frame");

static void put_text(struct spk_reply *reply, const char *text) {
    uint32_t size = 0;

    while (size < TEXT_MAX && text[size]) {
        size++;
    }
    spk_put(reply, size, 1);
    spk_put_bytes(reply, (const uint8_t *)text, size);
}

void spk_put_fault(struct spk_reply *reply) {
    struct spk_fault fault;

    spk_board_last_fault(&fault);
    spk_put(reply, (uint32_t)spk_board_reset_cause(), 1);
    spk_put(reply, fault.cause, 4);
    spk_put(reply, fault.pc, 4);
    spk_put(reply, fault.address, 4);
}

static void put_facts(struct spk_reply *reply) {
    const struct spk_link_counts *counts = spk_link_counts();
    uint32_t capabilities = 0;

#ifdef SPK_TRACE
    capabilities |= SPK_CAPABILITY_TRACE;
#endif
#ifdef SPK_LEARN
    capabilities |= SPK_CAPABILITY_LEARN;
#endif
#ifdef SPK_EVENTS
    capabilities |= SPK_CAPABILITY_EVENTS;
#endif
#ifdef SPK_EXIT
    capabilities |= SPK_CAPABILITY_EXIT;
#endif
#ifdef SPK_SIGNED
    capabilities |= SPK_CAPABILITY_KEYED;
#endif
    spk_put(reply, spk_board_boot_id(), 4);
    spk_put(reply, SPK_PROTOCOL, 1);
    spk_put(reply, SPK_PROTOCOL_HASH, 4);
    spk_put(reply, SPK_LINK_PAYLOAD, 2);
    spk_put(reply, SPK_LINK_RING, 2);
    spk_put(reply, capabilities, 4);
    spk_put(reply, spk_board_info.tick_unit, 1);
    spk_put(reply, spk_board_info.tick_hz, 4);
    spk_put(reply, SPK_FIRMWARE_VERSION, 4);
    spk_put(reply, spk_model.steps, 2);
    spk_put(reply, spk_model.tensor_count, 2);
    spk_put(reply, spk_model.arena_bytes, 4);
    spk_put(reply, spk_model.constant_bytes, 4);
    spk_board_unique_id(reply->at);
    reply->at += 8;
    spk_put_fault(reply);
    spk_put(reply, spk_learning_self_test(), 1);
    spk_put(reply, counts->good, 4);
    spk_put(reply, counts->bad, 4);
    spk_put_bytes(reply, spk_model.package_sha256, 32);
    spk_put(reply, SPK_LINK_WINDOW, 1);
    spk_put(reply, SPK_LINK_KEPT, 1);
    put_text(reply, spk_board_info.isa);
    put_text(reply, spk_model.name);
}

static void put_entry(struct spk_reply *reply, uint32_t id) {
    const struct spk_tensor *tensor = &spk_model.tensors[id];
    const union {
        float real;
        uint32_t bits;
    } scale = {tensor->scale};

    spk_put(reply, id, 2);
    spk_put(reply, tensor->kind, 1);
    spk_put(reply, tensor->dtype, 1);
    spk_put(reply, tensor->op, 2);
    spk_put(reply, tensor->rank, 1);
    spk_put(reply, tensor->bytes, 4);
    spk_put(reply, scale.bits, 4);
    spk_put(reply, (uint32_t)tensor->zero_point, 4);
    for (uint32_t i = 0; i < tensor->rank; i++) {
        spk_put(reply, tensor->dims[i], 2);
    }
    put_text(reply, tensor->name);
}

// The link has checked length and versions.
enum spk_status spk_hello_serve(const uint8_t *data, struct spk_reply *reply) {
    const uint8_t *const limit = reply->at + REPLY_MAX - ENTRY_MAX;
    const uint32_t part = spk_load16(data + SPK_HELLO_PART_AT);

    if (part > spk_model.tensor_count) {
        reply->detail = part;
        return SPK_STATUS_RANGE;
    }
#ifdef SPK_LEARN
    spk_learning_session(spk_load32(data + SPK_HELLO_NONCE_AT));
#endif
    spk_put_bytes(reply, data + SPK_HELLO_NONCE_AT, 4);
    spk_put(reply, part, 2);
    uint32_t id = 0;
    if (part == 0) {
        put_facts(reply);
    } else {
        for (id = part - 1; id < spk_model.tensor_count && reply->at <= limit; id++) {
            put_entry(reply, id);
        }
    }
    reply->more = id < spk_model.tensor_count;
    return SPK_STATUS_OK;
}
