// What fuzz_link.c draws: numbers, bytes, and payloads that are nearly right for their type. The
// model is whichever spk_model is linked.
// SPDX-License-Identifier: Apache-2.0
#ifndef FUZZ_REQUESTS_H
#define FUZZ_REQUESTS_H

#include "spk_agent.h"
#include "spk_frame.h"

static uint64_t random_state;

static uint32_t rnd(uint32_t below) { // xorshift64*, Vigna 2016
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (uint32_t)((random_state * 0x2545F4914F6CDD1Du) >> 32) % below;
}

static uint32_t random_bytes(uint8_t *out, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        out[i] = rnd(3) ? (uint8_t)rnd(256) : 0;
    }
    return n;
}

// An offset or a size near something that matters.
static uint32_t edgy(uint32_t limit) {
    switch (rnd(6)) {
    case 0:
        return 0;
    case 1:
        return limit;
    case 2:
        return limit + rnd(3) - 1;
    case 3:
        return 0xFFFFFFFFu - rnd(3);
    default:
        return rnd(limit + 1);
    }
}

// At most `n` bytes of a tensor, and what fits a frame.
static uint32_t random_values(uint8_t *at, uint32_t n) {
    // 0x7F: floats that are no numbers; 0xFF: also -1
    uint8_t most;

    n = n > SPK_LINK_PAYLOAD - 6 ? SPK_LINK_PAYLOAD - 6 : n;
    most = rnd(4) ? 0 : rnd(2) ? 0x7F : 0xFF;
    for (uint32_t i = 0; i < n; i++) {
        at[i] = rnd(50) ? most : (uint8_t)rnd(256);
    }
    return n;
}

#ifdef SPK_SIGNED
enum { ACTIONS = 8 };

// Most are whole, and what model_echo.c takes for signed.
static uint8_t *nearly_signed(uint8_t *at) {
    const uint32_t offset = rnd(8) ? 0 : edgy(spk_signed_bytes), whole = spk_signed_bytes;

    if (rnd(9) == 0) {
        return at + random_bytes(at, rnd(4));
    }
    at = spk_store(at, offset, 4);
    if (offset) {
        return at + random_bytes(at, rnd(whole));
    }
    at = spk_store(at, rnd(8) ? 0x5A5A5A5A : rnd(0xFFFFFFFFu), 4);
    at = spk_store(at, rnd(9), 4);
    for (uint32_t left = (whole - 8) / 2; left; left--) {
        at = spk_store(at, rnd(90) ? rnd(900) : 0x7FFF, 2);
    }
    return rnd(8) ? at : rnd(2) ? at - rnd(9) : at + random_bytes(at, rnd(9));
}
#else
enum { ACTIONS = 7 };
#endif

#ifdef SPK_LEARN
static uint8_t *nearly_learning(uint8_t type, uint8_t *at) {
#ifdef SPK_SIGNED
    if (type == SPK_TYPE_SIGNED_PUT) {
        return nearly_signed(at);
    }
#endif
    if (type == SPK_TYPE_LEARN) {
        at = spk_store(at, rnd(8) ? rnd(5) : rnd(2) ? SPK_NO_LABEL : rnd(9), 2);
        at = spk_store(at, rnd(20) ? rnd(2) : rnd(256), 1);
        return spk_store(at, rnd(4) ? 0 : rnd(3), 2);
    }
    at = spk_store(at, rnd(30) ? rnd(ACTIONS) : rnd(256), 1);
    at = spk_store(at, rnd(6) ? spk_learned_crc() : rnd(0xFFFFFFFFu), 4);
    return spk_store(at, rnd(1000), 4);
}
#endif

// A payload that is nearly right for its type.
static uint32_t nearly(uint8_t type, uint8_t *payload) {
    const uint32_t id = rnd(spk_model.tensor_count + 1u);
    const struct spk_tensor *tensor = &spk_model.tensors[id % spk_model.tensor_count];
    const uint32_t offset = edgy(tensor->bytes);
    uint8_t *at = payload;

    switch (type) {
    case SPK_TYPE_HELLO:
        at = spk_store(at, rnd(8) ? 0x1234u : rnd(4), 4);
        at = spk_store(at, rnd(9) ? SPK_PROTOCOL : rnd(4), 1);
        at = spk_store(at, rnd(9) ? SPK_PROTOCOL : rnd(4), 1);
        at = spk_store(at, rnd(spk_model.tensor_count + 3u), 2);
        break;
    case SPK_TYPE_TENSOR_PUT:
        at = spk_store(at, id, 2);
        at = spk_store(at, offset, 4);
        at +=
            random_values(at, rnd(3) || offset > tensor->bytes ? rnd(12) : tensor->bytes - offset);
        break;
    case SPK_TYPE_TENSOR_GET:
        at = spk_store(at, id, 2);
        at = spk_store(at, offset, 4);
        at = spk_store(at, edgy(offset <= tensor->bytes ? tensor->bytes - offset : 9), 2);
        break;
    case SPK_TYPE_RUN:
        *at++ = (uint8_t)(rnd(9) ? (rnd(2) ? 1 + 32 * rnd(4) : rnd(8)) : rnd(256));
        at = spk_store(at, rnd(3) ? rnd(4) : edgy(spk_model.steps), 2);
        at = spk_store(at, edgy(spk_model.steps), 2);
        at = spk_store(at, rnd(9) ? rnd(6) : rnd(0x10000), 2);
        break;
    case SPK_TYPE_ECHO:
        at += random_bytes(at, rnd(SPK_LINK_PAYLOAD + 1));
        break;
    case SPK_TYPE_CONSTANTS:
        at = spk_store(at, rnd(0xFFFFFFFFu), 4);
        at = spk_store(at, edgy(spk_model.constant_bytes), 4);
        at = spk_store(at, edgy(spk_model.constant_bytes), 4);
        break;
    case SPK_TYPE_BAUD:
        at = spk_store(at, rnd(8) ? edgy(1020000) : rnd(0xFFFFFFFFu), 4);
        at = spk_store(at, rnd(5000), 2);
        break;
#ifdef SPK_LEARN
    case SPK_TYPE_LEARN:
    case SPK_TYPE_LEARN_STATE:
    case SPK_TYPE_SIGNED_PUT:
        at = nearly_learning(type, at);
        break;
#endif
    default:
        break;
    }
    if (rnd(20) == 0) {
        *at++ = (uint8_t)rnd(256);
    } else if (rnd(20) == 0 && at > payload) {
        at--;
    }
    return (uint32_t)(at - payload);
}

#endif
