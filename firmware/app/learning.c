// What a model learns while it runs: which of it is kept, what a session leaves behind, uploads.
// SPDX-License-Identifier: Apache-2.0
#ifdef SPK_LEARN

#include "spk_agent.h"
#include "spk_board.h"
#include "spk_model.h"
#include "spk_storage.h"

static struct {
    uint32_t nonce;   // of the session that the learned tensors belong to
    uint32_t steps;   // learning steps behind the learned tensors
    uint8_t changed;  // they are not the committed ones
    uint8_t pending;  // a host has written some of them, and has not said that this was all
    uint8_t unstored; // the commit phase has run, but its result could not be stored
    uint8_t tested;   // SPK_SELF_TEST_...: what the self-test of this boot found
} learning;

// The first learned tensor with a value beyond its range; the number of tensors where there is
// none.
static uint32_t beyond_range(void) {
    uint32_t i = 0;

    for (; i < spk_model.tensor_count; i++) {
        const struct spk_tensor *tensor = &spk_model.tensors[i];
        if (tensor->kind == SPK_LEARNED &&
            spk_agent_admitted(tensor, 0, tensor->data, tensor->bytes) != tensor->bytes) {
            break;
        }
    }
    return i;
}

// Gives up what was restored for the next best, until one can be of this model.
static void refuse_impossible(void) {
    while (spk_stored()->source != SPK_SOURCE_INITIAL && // a CRC is no proof of who wrote it
           beyond_range() < spk_model.tensor_count) {
        spk_storage_refuse();
    }
}

static void note_restored(void) {
    learning.steps = spk_stored()->steps;
    learning.changed = 0;
    learning.pending = 0;
    learning.unstored = 0;
#ifdef SPK_SIGNED
    spk_signed_restored(spk_stored()->counter);
#endif
}

static void restore(void) {
    spk_storage_restore();
    refuse_impossible();
    note_restored();
}

// What the golden samples give with what is learned now.
static struct spk_answers answers(void) {
    struct spk_answers given = {0, 0};

#ifdef SPK_SELF_TEST
    given.digest = spk_self_test_digest();
    given.samples = spk_model.self_test->id;
#endif
    return given;
}

// Whether the device computes what it did when its model was committed; falls back until it does.
// After a fault nothing is run: it may have been this that faulted, and a host is to be served.
static uint8_t self_test(void) {
#ifdef SPK_SELF_TEST
    const struct spk_stored *stored = spk_stored();
    const enum spk_reset_cause cause = spk_board_reset_cause();
    uint8_t passed = SPK_SELF_TEST_PASSED;

    if (cause != SPK_RESET_POWER && cause != SPK_RESET_REQUEST) {
        return SPK_SELF_TEST_SKIPPED;
    }
    while (stored->source != SPK_SOURCE_INITIAL) {
        if (stored->answers.samples != spk_model.self_test->id) {
            return SPK_SELF_TEST_SKIPPED; // of an image without, or with other samples
        }
        if (spk_self_test_digest() == stored->answers.digest) {
            return passed;
        }
        passed = SPK_SELF_TEST_FELL_BACK;
        spk_storage_refuse();
        refuse_impossible();
    }
    return spk_self_test_digest() == spk_model.self_test->digest ? passed : SPK_SELF_TEST_FAILED;
#else
    return SPK_SELF_TEST_NONE;
#endif
}

void spk_learning_boot(void) {
    learning.nonce = 0;
    spk_storage_boot();
    refuse_impossible();
    learning.tested = self_test();
    note_restored();
}

uint32_t spk_learning_self_test(void) {
    return learning.tested;
}

void spk_learning_session(uint32_t nonce) {
    if (nonce != learning.nonce && learning.changed) {
        restore();
        spk_log("back to the last committed model");
    }
    learning.nonce = nonce;
}

void spk_learning_written(void) {
    learning.changed = 1;
    learning.pending = 1;
    learning.unstored = 0;
}

int spk_learning_pending(void) {
    return learning.pending;
}

void spk_learning_stepped(void) {
    learning.steps++;
    learning.changed = 1;
    learning.unstored = 0;
}

static enum spk_status commit(uint32_t *ticks, struct spk_reply *reply) {
    spk_board_ticks_begin();
    const uint32_t before = spk_board_ticks();

    if (learning.pending) {
        return SPK_STATUS_BAD_STATE;
    }
    if (!learning.unstored) {
        spk_model_commit();
        learning.changed = 1;
        learning.unstored = 1;
    }
    *ticks = spk_board_ticks() - before;
    const uint32_t diverged = beyond_range();
    if (diverged < spk_model.tensor_count) {
        reply->detail = diverged;
        restore();
        return SPK_STATUS_RANGE;
    }
    const enum spk_status status = spk_storage_commit(learning.steps, answers(), &reply->detail);
    if (status == SPK_STATUS_OK) {
        learning.changed = 0;
        learning.unstored = 0;
    }
    return status;
}

// The committed model is in use again; tells what keeps the storage's own from being it.
static enum spk_status go_back(struct spk_reply *reply) {
    restore();
    reply->detail = spk_stored()->found;
    switch (spk_stored()->found) {
    case SPK_STORED_OTHER_MODEL:
        return SPK_STATUS_MODEL_MISMATCH;
    case SPK_STORED_OTHER_VERSION:
        return SPK_STATUS_VERSION;
    case SPK_STORED_DAMAGED:
        return SPK_STATUS_CHECKSUM;
    default:
        return SPK_STATUS_OK;
    }
}

static enum spk_status accept(const uint8_t *data, struct spk_reply *reply) {
    const uint32_t crc = spk_learned_crc();

    if (!learning.pending) {
        return SPK_STATUS_BAD_STATE;
    }
    if (crc != spk_load32(data + SPK_LEARN_STATE_CRC_AT)) {
        reply->detail = crc;
        restore();
        return SPK_STATUS_CHECKSUM;
    }
    learning.pending = 0;
    learning.steps = spk_load32(data + SPK_LEARN_STATE_STEPS_AT);
    return SPK_STATUS_OK;
}

// What is committed becomes the factory's, once.
static enum spk_status keep_factory(struct spk_reply *reply) {
    if (learning.changed) {
        return SPK_STATUS_BAD_STATE;
    }
    return spk_storage_keep_factory(learning.steps, answers(), &reply->detail);
}

static void to_factory(void) {
    const uint32_t steps = spk_storage_load_factory();

    if (beyond_range() < spk_model.tensor_count) {
        spk_model_load();
    }
    spk_learning_written();
    learning.pending = 0;
    learning.steps = steps;
}

static void put_state(struct spk_reply *reply, uint32_t ticks) {
    const struct spk_stored *stored = spk_stored();
    const uint32_t words[] = {
        learning.steps,
        spk_learned_crc(),
        stored->generation,
        stored->crc,
        ticks,
        stored->written,
        stored->erased,
        spk_storage_slot_bytes(),
        spk_board_storage.page,
        spk_board_boot_id(),
    };

    for (uint32_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        spk_put(reply, words[i], 4);
    }
    spk_put(reply, stored->found, 1);
    spk_put(reply, learning.pending, 1);
    spk_put(reply, stored->worn, 4);
    spk_put(reply, stored->answers.digest, 4);
    spk_put(reply, stored->source, 1);
    spk_put(reply, stored->factory, 1);
    spk_put(reply, learning.tested, 1);
}

#ifdef SPK_SIGNED
// Whether an image with a key does this. What is not named here it does not do.
static enum spk_status admit(uint32_t action, struct spk_reply *reply) {
    switch (action) {
    case SPK_LEARN_INFO:
    case SPK_LEARN_COMMIT:
    case SPK_LEARN_RESTORE:
    case SPK_LEARN_KEEP_FACTORY:
    case SPK_LEARN_ACCEPT_SIGNED:
        return SPK_STATUS_OK;
    case SPK_LEARN_RESET:
    case SPK_LEARN_TO_FACTORY: // older than all that was signed
        reply->detail = spk_signed_counter();
        return reply->detail ? SPK_STATUS_OLD : SPK_STATUS_OK;
    default:
        reply->detail = SPK_TYPE_LEARN_STATE;
        return SPK_STATUS_SIGNATURE;
    }
}

static enum spk_status accept_signed(struct spk_reply *reply) {
    const enum spk_status status = spk_signed_take(reply);

    if (status == SPK_STATUS_OK) {
        spk_learning_written();
        learning.pending = 0;
        learning.steps = 0;
    }
    return status;
}
#endif

enum spk_status spk_learning_serve(const uint8_t *data, struct spk_reply *reply) {
    const uint32_t action = data[SPK_LEARN_STATE_ACTION_AT];
    enum spk_status status = SPK_STATUS_OK;
    uint32_t ticks = 0;

#ifdef SPK_SIGNED
    status = admit(action, reply);
    if (status != SPK_STATUS_OK) {
        return status;
    }
#endif
    switch (action) {
    case SPK_LEARN_INFO:
        break;
    case SPK_LEARN_RESET:
        spk_model_load();
        spk_learning_written();
        learning.pending = 0;
        learning.steps = 0;
        break;
    case SPK_LEARN_COMMIT:
        status = commit(&ticks, reply);
        break;
    case SPK_LEARN_RESTORE:
        status = go_back(reply);
        break;
    case SPK_LEARN_ACCEPT:
        status = accept(data, reply);
        break;
    case SPK_LEARN_KEEP_FACTORY:
        status = keep_factory(reply);
        break;
    case SPK_LEARN_TO_FACTORY:
        to_factory();
        break;
#ifdef SPK_SIGNED
    case SPK_LEARN_ACCEPT_SIGNED:
        status = accept_signed(reply);
        break;
#endif
    default:
        reply->detail = action;
        status = SPK_STATUS_RANGE;
    }
    if (status == SPK_STATUS_OK) {
        put_state(reply, ticks);
    }
    return status;
}

#else
typedef int spk_learning_is_for_models_that_learn; // a file may not be empty
#endif
