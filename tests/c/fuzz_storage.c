// The storage under any contents, as libFuzzer makes them: what a device restores is a model that
// it kept, or the initial one, and each value is one that its tensor may hold; afterwards it
// commits.
//   input: how u8 | edits: where u16, byte u8 ...
//   how bit 0: the edits are of storage that holds two commits and a factory's model, else of
//   noise; bit 1: headers are sealed again behind the edits, bit 2: tensors, too
// SPDX-License-Identifier: Apache-2.0
#include "flash.h"
#include "fuzz_same.h"
#include "unlinked.h"
#include "spk_admit.h"
#include "spk_agent.h"
#include "spk_board.h"
#include "spk_frame.h"
#include "spk_model.h"
#include "spk_storage.h"

enum { HEADER = 64, DATA_CRC_AT = 20, HEADER_CRC_AT = 60, SLOTS = 3, LEARNED_MAX = 2048 };
enum { GOOD = 1, SEAL_HEADERS = 2, SEAL_DATA = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

enum spk_reset_cause spk_board_reset_cause(void) {
    return SPK_RESET_POWER;
}

static uint32_t copy(uint8_t *to) {
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < spk_model.tensor_count; i++) {
        const struct spk_tensor *tensor = &spk_model.tensors[i];
        if (tensor->kind == SPK_LEARNED) {
            memcpy(to + bytes, tensor->data, tensor->bytes);
            bytes += tensor->bytes;
        }
    }
    return bytes;
}

static void check_values(void) {
    for (uint32_t i = 0; i < spk_model.tensor_count; i++) {
        const struct spk_tensor *tensor = &spk_model.tensors[i];
        if (tensor->kind == SPK_LEARNED) {
            CHECK(spk_admitted(tensor, 0, tensor->data, tensor->bytes) == tensor->bytes);
        }
    }
}

static uint32_t slot_bytes(void) {
    return spk_storage_slot_bytes();
}

// Storage with two commits and a factory's model in `good`, once.
static void prepare(uint8_t good[FLASH_BYTES]) {
    const struct spk_answers answers = {0};
    uint32_t detail;

    memset(flash, 0xFF, sizeof flash);
    spk_learning_boot();
    CHECK(spk_storage_keep_factory(1, answers, &detail) == SPK_STATUS_OK);
    CHECK(spk_storage_commit(2, answers, &detail) == SPK_STATUS_OK);
    CHECK(spk_storage_commit(3, answers, &detail) == SPK_STATUS_OK);
    memcpy(good, flash, sizeof flash);
}

static void seal(uint8_t how, uint32_t learned_bytes) {
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        uint8_t *header = flash + slot * slot_bytes();
        uint32_t crc = spk_crc32(0, header + HEADER, learned_bytes);
        if (how & SEAL_DATA) {
            memcpy(header + DATA_CRC_AT, &crc, sizeof crc);
        }
        crc = spk_crc32(0, header, HEADER_CRC_AT);
        if (how & SEAL_HEADERS) {
            memcpy(header + HEADER_CRC_AT, &crc, sizeof crc);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t good[FLASH_BYTES], before[LEARNED_MAX], after[LEARNED_MAX];
    static int prepared;
    const struct spk_answers answers = {0};
    uint32_t detail;

    if (!prepared) {
        prepare(good);
        prepared = 1;
    }
    if (size < 1) {
        return 0;
    }
    memset(flash, 0xA5, sizeof flash);
    if (data[0] & GOOD) {
        memcpy(flash, good, sizeof flash);
    }
    for (size_t at = 1; at + 3 <= size; at += 3) {
        flash[(data[at] | data[at + 1] << 8) % FLASH_BYTES] = data[at + 2];
    }
    const uint32_t learned_bytes = copy(before);
    CHECK(learned_bytes <= LEARNED_MAX);
    seal(data[0], learned_bytes);

    spk_learning_boot();
    check_values();
    copy(before);
    CHECK(spk_stored()->crc == spk_learned_crc());
    if (spk_storage_commit(9, answers, &detail) == SPK_STATUS_OK) {
        const uint32_t generation = spk_stored()->generation;
        spk_model_load();
        spk_learning_boot();
        CHECK(spk_stored()->generation == generation);
        copy(after);
        CHECK(same(before, after, learned_bytes));
    }
    return 0;
}
