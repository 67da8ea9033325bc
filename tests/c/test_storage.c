// Learned tensors through power cuts: whatever is left of an erase or a write, the next boot finds
// the last committed model, bit for bit; and what a storage can be that is not ours, or is worn.
//   test_storage [SEED]   prints counts; 1 where a rule is broken
// SPDX-License-Identifier: Apache-2.0
#include "flash.h"
#include "spk_board.h"
#include "spk_frame.h"
#include "spk_model.h"
#include "spk_storage.h"

enum {
    LEARNED_MAX = 2048,
    HEADER = 64,
    FORMAT_AT = 4,
    BYTES_AT = 12,
    PACKAGE_AT = 24,
    CRC_AT = 60
};

static uint8_t models[3][LEARNED_MAX]; // the committed, the one being committed, scratch
static uint32_t learned_bytes;
static volatile uint32_t cuts, kept, taken, campaigns;

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                             \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

_Noreturn void spk_board_reset(void) {
    abort();
}

static uint32_t random_state = 1;

static uint32_t rnd(uint32_t below) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state % below;
}

// Copies the learned tensors out, or in.
static uint32_t copy(uint8_t *model, int in) {
    uint32_t at = 0;

    for (uint32_t i = 0; i < spk_model.tensor_count; i++) {
        const struct spk_tensor *tensor = &spk_model.tensors[i];
        if (tensor->kind == SPK_LEARNED) {
            memcpy(in ? tensor->data : model + at, in ? model + at : tensor->data, tensor->bytes);
            at += tensor->bytes;
        }
    }
    return at;
}

static void learn(uint8_t *model) {
    for (uint32_t i = 0; i < learned_bytes; i++) {
        model[i] = (uint8_t)rnd(256);
    }
    copy(model, 1);
}

// Power on: RAM is anything, the storage's module knows nothing.
static void boot(void) {
    memset(models[2], 0xA5, learned_bytes);
    copy(models[2], 1);
    spk_storage_restore();
    copy(models[2], 0);
    CHECK(spk_stored()->crc == spk_learned_crc());
}

static int is(const uint8_t *model) {
    return memcmp(models[2], model, learned_bytes) == 0;
}

static void commit(uint32_t steps) {
    uint32_t detail;

    CHECK(spk_storage_commit(steps, &detail) == SPK_STATUS_OK);
}

// One commit of models[1] over models[0]; power goes in operation n. Answers 1 when it went.
static int cut_commit(uint32_t n, uint32_t how, uint32_t operations) {
    const uint32_t generation = spk_stored()->generation;

    learn(models[1]);
    if (setjmp(flash_power) == 0) {
        flash_cut(n, how);
        commit(generation + 1);
        flash_cut(0, 0);
        memcpy(models[0], models[1], learned_bytes);
        return 0;
    }
    cuts++;
    boot();
    const int new = is(models[1]) && spk_stored()->generation == generation + 1;
    CHECK(new || (is(models[0]) && spk_stored()->generation == generation));
    CHECK(spk_stored()->steps == spk_stored()->generation);
    // Only the header, which is written last, makes a slot count.
    CHECK(!new || n == operations);
    CHECK(new || n < operations || how != CUT_AFTER);
    taken += (uint32_t)new;
    kept += (uint32_t)!new;
    if (new) {
        memcpy(models[0], models[1], learned_bytes);
    }
    return 1;
}

static uint32_t operations_of_a_commit(void) {
    flash_operations = 0;
    learn(models[0]);
    commit(spk_stored()->generation + 1);
    return flash_operations;
}

static void every_cut(void) {
    const uint32_t operations = operations_of_a_commit();

    printf("operations %u\n", operations);
    for (uint32_t round = 0; round < 50; round++) {
        for (uint32_t n = 1; n <= operations; n++) {
            for (uint32_t how = 0; how < CUT_KINDS; how++) {
                CHECK(cut_commit(n, how, operations));
                CHECK(!cut_commit(operations + 1, how, operations)); // and it goes on
                boot();
                CHECK(is(models[0]) && spk_stored()->found == SPK_STORED_LOADED);
            }
        }
    }
    for (; campaigns < 20000; campaigns++) { // cuts upon cuts
        cut_commit(1 + rnd(operations + 2), rnd(CUT_KINDS), operations);
    }
}

static uint8_t *newest(void) {
    return flash + spk_stored()->slot * spk_storage_slot_bytes();
}

static void seal(uint8_t *header) {
    spk_store(header + CRC_AT, spk_crc32(0, header, CRC_AT), 4);
}

static void expect(uint32_t found, const uint8_t *model) {
    boot();
    CHECK(spk_stored()->found == found);
    CHECK(is(model));
    CHECK(spk_stored()->generation != 0 || found < SPK_STORED_LOADED);
}

// Two commits on empty flash: models[0] the newer, `older` the one before it.
static void two_commits(uint8_t *older) {
    memset(flash, 0xFF, sizeof flash);
    boot();
    learn(older);
    commit(1);
    learn(models[0]);
    commit(2);
    expect(SPK_STORED_LOADED, models[0]);
}

static void what_is_not_ours(const uint8_t *initial) {
    static uint8_t older[LEARNED_MAX];

    memset(flash, 0, sizeof flash);
    expect(SPK_STORED_EMPTY, initial);
    memset(flash, 0xFF, sizeof flash);
    expect(SPK_STORED_EMPTY, initial);
    learn(models[0]);
    commit(1);
    newest()[PACKAGE_AT + 31] ^= 1;
    seal(newest());
    expect(SPK_STORED_OTHER_MODEL, initial);

    two_commits(older);
    newest()[PACKAGE_AT] ^= 1;
    seal(newest());
    expect(SPK_STORED_LOADED, older);
    CHECK(spk_stored()->generation == 1);
    newest()[FORMAT_AT]++;
    seal(newest());
    expect(SPK_STORED_OTHER_MODEL, initial);
    learn(models[0]); // what is not ours is replaced
    commit(1);
    expect(SPK_STORED_LOADED, models[0]);
    newest()[FORMAT_AT]++;
    expect(SPK_STORED_OTHER_MODEL, initial); // of the two slots' reasons the higher

    memset(flash, 0xFF, sizeof flash);
    boot();
    learn(models[0]);
    commit(1);
    newest()[BYTES_AT]++;
    seal(newest());
    expect(SPK_STORED_OTHER_VERSION, initial);
}

static void every_flipped_bit(const uint8_t *initial) {
    static uint8_t older[LEARNED_MAX];
    uint32_t fell_back = 0;

    for (uint32_t bit = 0; bit < 8 * (HEADER + learned_bytes); bit++) {
        two_commits(older);
        newest()[bit / 8] ^= (uint8_t)(1u << bit % 8);
        boot();
        CHECK(is(older) && spk_stored()->generation == 1);
        fell_back += spk_stored()->found == SPK_STORED_FALLBACK;
    }
    CHECK(fell_back >= 8 * (HEADER + learned_bytes - 8)); // but for magic and format
    two_commits(older);
    newest()[HEADER] ^= 1;
    boot();
    newest()[HEADER] ^= 1;
    expect(SPK_STORED_DAMAGED, initial);
}

static void what_fails(uint32_t operations) {
    uint32_t detail;

    two_commits(models[1]);
    for (uint32_t n = 1; n <= operations; n++) {
        learn(models[1]);
        flash_error(n, 7);
        CHECK(spk_storage_commit(3, &detail) == SPK_STATUS_STORAGE && detail == 7);
        CHECK(spk_stored()->generation == 2);
        boot();
        CHECK(is(models[0]) && spk_stored()->generation == 2);
    }
    const uint32_t base = (spk_stored()->slot == 0) * spk_storage_slot_bytes();
    for (uint32_t byte = 0; byte < HEADER + learned_bytes; byte++) {
        learn(models[1]);
        flash_stuck = 1 + 8 * (base + byte) + rnd(8);
        const enum spk_status status = spk_storage_commit(3, &detail);
        flash_stuck = 0;
        if (status == SPK_STATUS_OK) { // the bit was to be 1
            memcpy(models[0], models[1], learned_bytes);
            boot();
            CHECK(is(models[0]) && spk_stored()->steps == 3);
            commit(3);
            learn(models[0]);
            commit(2);
        } else {
            CHECK(status == SPK_STATUS_STORAGE && detail == SPK_STORAGE_WORN);
            boot();
            CHECK(is(models[0]));
        }
    }
}

static void wear(uint32_t operations) {
    const uint32_t pages = (HEADER + learned_bytes + FLASH_PAGE - 1) / FLASH_PAGE;
    const struct spk_stored before = *spk_stored();

    commit(9);
    CHECK(spk_stored()->erased - before.erased == pages);
    CHECK(spk_stored()->written - before.written == (operations - pages) * FLASH_PIECE);
    printf("learned %u pages %u written %u\n", learned_bytes, pages,
           spk_stored()->written - before.written);
}

int main(int argc, char **argv) {
    static uint8_t initial[LEARNED_MAX];
    uint32_t detail;

    random_state = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1;
    learned_bytes = copy(models[2], 0);
    CHECK(learned_bytes > 200 && learned_bytes <= LEARNED_MAX);
    spk_model_load();
    copy(initial, 0);
    memset(flash, 0xFF, sizeof flash);
    boot();
    if (learned_bytes > spk_storage_slot_bytes() - HEADER) {
        CHECK(spk_storage_commit(1, &detail) == SPK_STATUS_NO_MEM);
        CHECK(flash_operations == 0);
        expect(SPK_STORED_EMPTY, initial);
        printf("missing %u\n", detail);
        return 0;
    }
    every_cut();
    const uint32_t operations = operations_of_a_commit();
    wear(operations);
    what_is_not_ours(initial);
    every_flipped_bit(initial);
    what_fails(operations);
    printf("cuts %u kept %u taken %u campaigns %u\n", cuts, kept, taken, campaigns);
    return 0;
}
