// What fuzz_link.c checks of a model that learns; included there, for what it uses of it.
// SPDX-License-Identifier: Apache-2.0
static uint8_t committed[SHADOW_MAX]; // the learned tensors that a reset brings back
static uint32_t generation;           // of those
static int pending;                   // a host wrote to them, and nothing was accepted since

static uint32_t learned(uint8_t *out) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < spk_model.tensor_count; i++) {
        const struct spk_tensor *tensor = &spk_model.tensors[i];
        if (tensor->kind == SPK_LEARNED) {
            memcpy(out + n, tensor->data, tensor->bytes);
            n += tensor->bytes;
        }
    }
    return n;
}

static void check_committed(void) {
    uint8_t now[SHADOW_MAX];
    CHECK(same(now, committed, learned(now)));
    pending = 0;
}

// After bytes whose meaning is not followed here: they may have held a commit or an upload.
static void take_over(void) {
    uint8_t now[SHADOW_MAX];
    if (generation != spk_stored()->generation) {
        generation = spk_stored()->generation;
        CHECK(crc_of(now, learned(now)) == spk_stored()->crc);
        learned(committed);
    }
    pending = spk_learning_pending();
}

static int finite(const uint8_t *at) {
    return (spk_load32(at) & 0x7F800000) != 0x7F800000;
}

// What is true of a tensor at any time, whether a host or learning wrote it.
static int holds_learned(const struct spk_tensor *tensor, const uint8_t *at) {
    const uint8_t name = name_of(tensor);

    switch (name) {
    case RING:
        return at[0] < 8;
    case WANTED:
        return (int8_t)at[0] >= -3 && (int8_t)at[0] <= 3;
    case LABEL:
        return spk_load32(at) < 5;
    case COMMITS:
        return spk_load32(at) <= 3000000000u;
    case LEVEL:
        return finite(at);
    case WEIGHT:
    case HALF:
        for (uint32_t i = 0; i < tensor->bytes; i += 2) {
            const int16_t value = (int16_t)spk_load16(at + i);
            if (name == HALF ? (value & 0x7C00) == 0x7C00 : value < -1000 || value > 1000) {
                return 0;
            }
        }
        return 1;
    default:
        return 1;
    }
}

// What an answer to these types must have left behind.
static void check_learning(uint8_t type, const uint8_t *payload, uint32_t n) {
    const int ok = answer.status == SPK_STATUS_OK;
    const uint8_t action = n ? payload[SPK_LEARN_STATE_ACTION_AT] : 0;

    if ((type == SPK_TYPE_RUN || type == SPK_TYPE_LEARN) && ok) {
        CHECK(!pending);
    } else if (type == SPK_TYPE_TENSOR_PUT && ok) {
        pending |= spk_model.tensors[spk_load16(payload)].kind == SPK_LEARNED;
    } else if (type == SPK_TYPE_LEARN_STATE) {
        const int damaged = spk_stored()->found < SPK_STORED_LOADED;
        if (ok && action == SPK_LEARN_COMMIT) {
            CHECK(!pending);
            CHECK(spk_stored()->generation == generation + 1);
            take_over();
        } else if (answer.status != SPK_STATUS_BAD_LEN && action == SPK_LEARN_RESTORE) {
            CHECK(ok || damaged);
            check_committed();
        } else if (answer.status == SPK_STATUS_CHECKSUM && action == SPK_LEARN_ACCEPT) {
            CHECK(pending);
            check_committed();
        } else if (answer.status == SPK_STATUS_RANGE && action == SPK_LEARN_COMMIT) {
            check_committed();
        } else if (ok && action != SPK_LEARN_INFO) {
            pending = 0;
        }
    }
}
