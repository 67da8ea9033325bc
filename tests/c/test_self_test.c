// The self-test at boot: what passes, what a device falls back to, and that it never stands in the
// way of a host. A model whose answers depend on what it learned, on flash that power leaves.
//   test_self_test        prints counts; 1 where a rule is broken
// SPDX-License-Identifier: Apache-2.0
#include "flash.h"
#include "unlinked.h"
#include "spk_admit.h"
#include "spk_agent.h"
#include "spk_board.h"
#include "spk_frame.h"
#include "spk_model.h"
#include "spk_storage.h"

enum { HEADER = 64, SAMPLES_AT = 6, DIGEST_AT = 56, CRC_AT = 60, WEIGHTS = 8, SAMPLES = 3 };

extern struct spk_self_test echo_self_test;
extern uint32_t echo_fault, echo_finished;

static enum spk_reset_cause cause;
static volatile uint32_t cuts;

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                             \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

enum spk_reset_cause spk_board_reset_cause(void) {
    return cause;
}

static int16_t *weight(void) {
    for (uint32_t i = 0; i < spk_model.tensor_count; i++) {
        if (strcmp(spk_model.tensors[i].name, "weight") == 0) {
            return spk_model.tensors[i].data;
        }
    }
    abort();
}

static uint8_t answer[128];

static enum spk_status ask(uint8_t action) {
    uint8_t request[SPK_LEARN_STATE_BYTES] = {action};
    struct spk_reply reply = {.at = answer + 1};

    memset(answer, 0, sizeof answer);
    const enum spk_status status = spk_learning_serve(request, &reply);
    CHECK(status != SPK_STATUS_OK || reply.at == answer + SPK_LEARN_STATE_REPLY_BYTES);
    return status;
}

static uint32_t learns(int16_t value) {
    for (uint32_t i = 0; i < WEIGHTS; i++) {
        weight()[i] = value;
    }
    spk_learning_stepped();
    CHECK(ask(SPK_LEARN_COMMIT) == SPK_STATUS_OK); // which halves them
    return spk_load32(answer + SPK_LEARN_STATE_REPLY_DIGEST_AT);
}

static int16_t boot(uint32_t wanted) {
    memset(weight(), 0x11, 2 * WEIGHTS);
    echo_finished = 0;
    spk_learning_boot();
    CHECK(spk_learning_self_test() == wanted);
    for (uint32_t i = 0; i < spk_model.tensor_count; i++) {
        const struct spk_tensor *tensor = &spk_model.tensors[i];
        const uint8_t *data = tensor->data;
        for (uint32_t byte = 0; tensor->kind != SPK_LEARNED && byte < tensor->bytes; byte++) {
            CHECK(data[byte] == 0); // nothing of the samples is left
        }
    }
    CHECK(ask(SPK_LEARN_INFO) == SPK_STATUS_OK);
    CHECK(answer[SPK_LEARN_STATE_REPLY_SELF_TEST_AT] == wanted);
    return weight()[0];
}

static uint8_t *slot(uint32_t number) {
    return flash + number * spk_storage_slot_bytes();
}

static void change_digest(uint32_t number) {
    slot(number)[DIGEST_AT] ^= 1;
    spk_store(slot(number) + CRC_AT, spk_crc32(0, slot(number), CRC_AT), 4);
}

static uint32_t source(void) {
    return answer[SPK_LEARN_STATE_REPLY_SOURCE_AT];
}

// The factory's 40, then two commits: 20 in slot 0, 30 in slot 1.
static void stored_three(void) {
    flash_is(FLASH_PLAIN);
    boot(SPK_SELF_TEST_PASSED);
    learns(80);
    CHECK(ask(SPK_LEARN_KEEP_FACTORY) == SPK_STATUS_OK);
    CHECK(ask(SPK_LEARN_KEEP_FACTORY) == SPK_STATUS_BAD_STATE);
    learns(1);
    learns(40); // to slot 0
    learns(60);
    CHECK(boot(SPK_SELF_TEST_PASSED) == 30);
}

static void falls_back(void) {
    stored_three();
    CHECK(echo_finished == SAMPLES); // and not twice
    change_digest(1);
    CHECK(boot(SPK_SELF_TEST_FELL_BACK) == 20 && source() == SPK_SOURCE_COMMITTED);
    CHECK(answer[SPK_LEARN_STATE_REPLY_STORED_AT] == SPK_STORED_FALLBACK);
    CHECK(ask(SPK_LEARN_RESTORE) == SPK_STATUS_OK && weight()[0] == 20); // nor later
    change_digest(0);
    CHECK(boot(SPK_SELF_TEST_FELL_BACK) == 40 && source() == SPK_SOURCE_FACTORY);
    CHECK(ask(SPK_LEARN_RESTORE) == SPK_STATUS_CHECKSUM && weight()[0] == 40);
    CHECK(ask(SPK_LEARN_TO_FACTORY) == SPK_STATUS_OK && weight()[0] == 40);
    change_digest(2);
    CHECK(boot(SPK_SELF_TEST_FELL_BACK) == 1 && source() == SPK_SOURCE_INITIAL);
    CHECK(answer[SPK_LEARN_STATE_REPLY_FACTORY_AT] == SPK_STORED_DAMAGED);
    CHECK(ask(SPK_LEARN_TO_FACTORY) == SPK_STATUS_OK && weight()[0] == 1);
    learns(90);
    CHECK(boot(SPK_SELF_TEST_PASSED) == 45);
}

// A core that computes something else: nothing passes, and the initial model is in use.
static void fails(void) {
    stored_three();
    echo_fault = 1;
    CHECK(boot(SPK_SELF_TEST_FAILED) == 1 && source() == SPK_SOURCE_INITIAL);
    CHECK(echo_finished == 4 * SAMPLES);
    echo_fault = 0;
    CHECK(boot(SPK_SELF_TEST_PASSED) == 30); // it was passing
}

// After a fault, or where the slot's digest is of other samples, what is committed is in use.
static void is_skipped(void) {
    stored_three();
    cause = SPK_RESET_FAULT;
    CHECK(boot(SPK_SELF_TEST_SKIPPED) == 30 && echo_finished == 0);
    cause = SPK_RESET_REQUEST;
    CHECK(boot(SPK_SELF_TEST_PASSED) == 30);
    slot(1)[SAMPLES_AT] ^= 1;
    spk_store(slot(1) + CRC_AT, spk_crc32(0, slot(1), CRC_AT), 4);
    CHECK(boot(SPK_SELF_TEST_SKIPPED) == 30 && echo_finished == 0);
    cause = SPK_RESET_POWER;
}

// What is committed passes, wherever power goes: in a commit, or in keeping the factory's.
static void survives_cuts(void) {
    for (volatile uint32_t kind = 0; kind < FLASH_KINDS; kind++) {
        for (volatile uint32_t n = 1; n <= 7; n++) {
            for (volatile uint32_t how = 0; how < 2 * CUT_KINDS; how++) {
                const volatile uint8_t action = how % 2 ? SPK_LEARN_KEEP_FACTORY : SPK_LEARN_COMMIT;
                flash_is(kind);
                boot(SPK_SELF_TEST_PASSED);
                const volatile uint32_t digest = learns(60);
                weight()[0] = (int16_t)(action == SPK_LEARN_COMMIT ? 10 : 30);
                if (setjmp(flash_power) == 0) {
                    flash_cut(n, how / 2);
                    ask(action);
                    CHECK(0);
                }
                cuts++;
                const int16_t now = boot(SPK_SELF_TEST_PASSED);
                CHECK(now == 30 || (now == 5 && action == SPK_LEARN_COMMIT && n == 7));
                CHECK((spk_load32(answer + SPK_LEARN_STATE_REPLY_DIGEST_AT) == digest) ==
                      (now == 30));
            }
        }
    }
}

int main(void) {
    uint8_t *sample = (uint8_t *)(uintptr_t)echo_self_test.samples;

    for (uint32_t i = 0; i < SAMPLES; i++) { // an image; no bomb
        memset(sample + i * (300 + 20), (int)(i + 1), 300);
    }
    spk_model_load();
    echo_self_test.digest = spk_self_test_digest();
    flash_is(FLASH_PLAIN);
    CHECK(boot(SPK_SELF_TEST_PASSED) == 1);
    CHECK(source() == SPK_SOURCE_INITIAL);
    falls_back();
    fails();
    is_skipped();
    survives_cuts();
    printf("cuts %u\n", cuts);
    return 0;
}
