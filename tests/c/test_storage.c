// Learned tensors through power cuts: whatever is left of an erase or a write, the next boot finds
// the last committed model, bit for bit, or the factory's; and what a storage can be that is not
// ours, or is worn.
//   test_storage [SEED]   prints counts; 1 where a rule is broken
// SPDX-License-Identifier: Apache-2.0
#include "flash.h"
#include "spk_board.h"
#include "spk_frame.h"
#include "spk_model.h"
#include "spk_storage.h"

enum { LEARNED_MAX = 2048, HEADER = 64, FORMAT_AT = 2, PACKAGE_AT = 24, CRC_AT = 60 };

static uint8_t models[3][LEARNED_MAX]; // the committed, the one being committed, scratch
static uint32_t learned_bytes;
static volatile uint32_t cuts, kept, taken, campaigns, pairs, factory_cuts;

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
    spk_storage_boot();
    copy(models[2], 0);
    CHECK(spk_stored()->crc == spk_learned_crc());
}

static int is(const uint8_t *model) {
    return memcmp(models[2], model, learned_bytes) == 0;
}

static void commit(uint32_t steps) {
    const struct spk_answers answers = {steps * 7, (uint16_t)steps};
    uint32_t detail;

    CHECK(spk_storage_commit(steps, answers, &detail) == SPK_STATUS_OK);
}

static enum spk_status commit_fails(uint32_t steps, uint32_t *detail) {
    const struct spk_answers none = {0, 0};

    return spk_storage_commit(steps, none, detail);
}

static enum spk_status keep_factory(void) {
    const struct spk_answers answers = {77, 7};
    uint32_t detail;

    return spk_storage_keep_factory(5, answers, &detail);
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
    CHECK(spk_stored()->answers.digest == spk_stored()->steps * 7);
    CHECK(spk_stored()->answers.samples == (uint16_t)spk_stored()->steps);
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
    for (uint32_t round = 0; round < 20; round++) {
        for (uint32_t n = 1; n <= operations; n++) {
            for (uint32_t how = 0; how < CUT_KINDS; how++) {
                CHECK(cut_commit(n, how, operations));
                CHECK(!cut_commit(operations + 1, how, operations)); // and it goes on
                boot();
                CHECK(is(models[0]) && spk_stored()->found == SPK_STORED_LOADED);
            }
        }
    }
    for (campaigns = 0; campaigns < 8000; campaigns++) { // cuts upon cuts
        cut_commit(1 + rnd(operations + 2), rnd(CUT_KINDS), operations);
    }
}

// Keeps models[1] as the factory's, cut in operation n; 1 when power went.
static int cut_factory(uint32_t n, uint32_t how) {
    if (setjmp(flash_power) == 0) {
        flash_cut(n, how);
        const enum spk_status status = keep_factory();
        flash_cut(0, 0);
        CHECK(status == SPK_STATUS_OK || spk_stored()->factory == SPK_STORED_LOADED);
        return 0;
    }
    factory_cuts++;
    return 1;
}

// Whether the factory slot is whole; where it is, it holds models[1].
static int factory_is_whole(void) {
    static uint8_t now[LEARNED_MAX];

    if (spk_stored()->factory != SPK_STORED_LOADED) {
        return 0;
    }
    copy(now, 0);
    CHECK(spk_storage_load_factory() == 5);
    copy(models[2], 0);
    CHECK(is(models[1]));
    copy(now, 1);
    copy(models[2], 0);
    return 1;
}

// Power goes in every operation that writes the factory slot; then in a commit and in that, either
// first. What was committed is there, and the factory's is whole or is not.
static void every_factory_cut(uint32_t kind) {
    static uint8_t committed[LEARNED_MAX];
    uint32_t whole = 0;

    flash_is(kind);
    boot();
    const uint32_t operations = operations_of_a_commit();
    for (uint32_t n = 1; n <= operations + 1; n++) {
        for (uint32_t how = 0; how < CUT_KINDS; how++) {
            for (uint32_t second = 0; second < 6; second++) {
                flash_is(kind);
                boot();
                operations_of_a_commit();
                memcpy(committed, models[0], learned_bytes);
                learn(models[1]);
                const int went = cut_factory(n, how);
                boot();
                CHECK(is(committed) && spk_stored()->generation == 1);
                CHECK(spk_stored()->source == SPK_SOURCE_COMMITTED);
                const int first = factory_is_whole();
                CHECK(went || first);
                CHECK(!first || n >= operations); // only its header makes it count
                whole += (uint32_t)first;
                static uint8_t factory[LEARNED_MAX];
                memcpy(factory, models[1], learned_bytes);
                if (second == 0) { // it may be written anew, unless it is whole
                    copy(models[1], 1);
                    CHECK(keep_factory() == (first ? SPK_STATUS_BAD_STATE : SPK_STATUS_OK));
                    CHECK(keep_factory() == SPK_STATUS_BAD_STATE);
                } else { // a pair of cuts
                    pairs += (uint32_t)cut_commit(1 + rnd(operations), rnd(CUT_KINDS), operations);
                }
                boot();
                memcpy(models[1], factory, learned_bytes);
                CHECK(factory_is_whole() == (second ? first : 1));
                CHECK(is(models[0]));
            }
        }
    }
    CHECK(whole > 0);
}

// Where no commit is fit for use, the factory's is; where that is not, the initial one.
static void falls_back(const uint8_t *initial) {
    static uint8_t older[LEARNED_MAX];

    flash_is(FLASH_PLAIN);
    boot();
    CHECK(spk_stored()->source == SPK_SOURCE_INITIAL && is(initial));
    learn(models[1]);
    CHECK(keep_factory() == SPK_STATUS_OK);
    boot(); // nothing was committed
    CHECK(is(models[1]) && spk_stored()->source == SPK_SOURCE_FACTORY);
    CHECK(spk_stored()->generation == 0 && spk_stored()->steps == 5);
    CHECK(spk_stored()->answers.digest == 77 && spk_stored()->answers.samples == 7);
    learn(older);
    commit(1);
    learn(models[0]);
    commit(2);
    boot();
    CHECK(is(models[0]) && spk_stored()->found == SPK_STORED_LOADED);
    spk_storage_refuse(); // it failed a test
    copy(models[2], 0);
    CHECK(is(older) && spk_stored()->found == SPK_STORED_FALLBACK);
    CHECK(spk_stored()->source == SPK_SOURCE_COMMITTED && spk_stored()->generation == 2);
    spk_storage_restore(); // and stays refused
    copy(models[2], 0);
    CHECK(is(older));
    spk_storage_refuse();
    copy(models[2], 0);
    CHECK(is(models[1]) && spk_stored()->source == SPK_SOURCE_FACTORY);
    CHECK(spk_stored()->found == SPK_STORED_DAMAGED && spk_stored()->generation == 2);
    spk_storage_refuse();
    copy(models[2], 0);
    CHECK(is(initial) && spk_stored()->source == SPK_SOURCE_INITIAL);
    CHECK(spk_stored()->factory == SPK_STORED_DAMAGED);
    CHECK(spk_storage_load_factory() == 0);
    spk_storage_refuse(); // there is nothing left to refuse
    learn(older);
    commit(3); // newer than what was refused
    boot();
    CHECK(is(older) && spk_stored()->generation == 3 && spk_stored()->factory == SPK_STORED_LOADED);
    boot();
    spk_storage_refuse();
    boot(); // power on: it may have been a passing fault
    CHECK(is(older));
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
    flash_is(FLASH_PLAIN);
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
    flash_is(FLASH_PLAIN);
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
    CHECK(fell_back >= 8 * (HEADER + learned_bytes - 3)); // but for magic and format
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
        CHECK(commit_fails(3, &detail) == SPK_STATUS_STORAGE && detail == 7);
        CHECK(spk_stored()->generation == 2);
        boot();
        CHECK(is(models[0]) && spk_stored()->generation == 2);
    }
    const uint32_t base = (spk_stored()->slot == 0) * spk_storage_slot_bytes();
    for (uint32_t byte = 0; byte < HEADER + learned_bytes; byte++) {
        learn(models[1]);
        flash_stuck = 1 + 8 * (base + byte) + rnd(8);
        const enum spk_status status = commit_fails(3, &detail);
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

// Erases of the page that was erased most, over boots and models; cuts cost at most one each.
static void wear_is_counted(void) {
    volatile uint32_t most = 0, lost = 0;

    flash_is(FLASH_PLAIN);
    for (uint32_t i = 0; i < 300; i++) {
        boot();
        CHECK(spk_stored()->worn <= most && spk_stored()->worn + lost + 1 >= most);
        learn(models[1]);
        if (setjmp(flash_power) == 0) {
            flash_cut(i % 3 == 2 ? 1 + rnd(7) : 0, CUT_NOISE);
            commit(i);
        } else {
            lost++;
        }
        if (i % 50 == 49) { // another model's image: its header tells, too
            newest()[PACKAGE_AT] ^= 1;
            seal(newest());
        }
        for (uint32_t page = 0; page < FLASH_PAGES; page++) {
            most = flash_erases[page] > most ? flash_erases[page] : most;
        }
    }
    CHECK(lost > 50 && most > 100);
    flash_is(FLASH_PLAIN);
    boot();
    for (uint32_t i = 0; i < 41; i++) {
        commit(i);
    }
    boot();
    CHECK(spk_stored()->worn == 21 && flash_erases[0] == 21);
    printf("worn %u\n", spk_stored()->worn);
}

int main(int argc, char **argv) {
    static uint8_t initial[LEARNED_MAX];
    uint32_t detail;

    random_state = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1;
    learned_bytes = copy(models[2], 0);
    CHECK(learned_bytes > 200 && learned_bytes <= LEARNED_MAX);
    spk_model_load();
    copy(initial, 0);
    flash_is(FLASH_PLAIN);
    boot();
    if (learned_bytes > spk_storage_slot_bytes() - HEADER) {
        CHECK(commit_fails(1, &detail) == SPK_STATUS_NO_MEM);
        CHECK(flash_operations == 0);
        expect(SPK_STORED_EMPTY, initial);
        printf("missing %u\n", detail);
        return 0;
    }
    for (uint32_t kind = 0; kind < FLASH_KINDS; kind++) {
        flash_is(kind);
        boot();
        every_cut();
    }
    flash_is(FLASH_PLAIN);
    boot();
    if (spk_stored()->factory == SPK_STORED_NONE) { // no room for three slots
        CHECK(keep_factory() == SPK_STATUS_NO_MEM);
        printf("two slots of %u\n", spk_storage_slot_bytes());
        return 0;
    }
    for (uint32_t kind = 0; kind < FLASH_KINDS; kind++) {
        every_factory_cut(kind);
    }
    falls_back(initial);
    wear_is_counted();
    flash_is(FLASH_PLAIN);
    boot();
    const uint32_t operations = operations_of_a_commit();
    wear(operations);
    what_is_not_ours(initial);
    every_flipped_bit(initial);
    what_fails(operations);
    printf("cuts %u kept %u taken %u campaigns %u factory cuts %u pairs %u\n", cuts, kept, taken,
           campaigns, factory_cuts, pairs);
    return 0;
}
