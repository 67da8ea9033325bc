// The native board's storage, made to fail. Operations are erases of a page and writes of a piece,
// counted from the start of the process:
//   SPIKELET_STORAGE_CUT=N    power goes in the N-th: half of it is done, and the process ends
//   SPIKELET_STORAGE_AFTER=N  power goes right behind the N-th
//   SPIKELET_STORAGE_ERROR=N  the N-th is not done and answers 5
//   SPIKELET_STORAGE_KIND=nor a bit goes from 1 to 0 between two erases, in units of 4 bytes
//   SPIKELET_STORAGE_KIND=ecc words of 16 bytes are programmed once between two erases; what power
//                             left in the middle of one cannot be read: that answers 9
// A rule of the kind that is broken ends the process and says so.
// SPDX-License-Identifier: Apache-2.0
#define spk_board_storage_erase whole_erase
#define spk_board_storage_write whole_write
#define spk_board_storage_read whole_read
#include "../../boards/native/storage.c"
#undef spk_board_storage_erase
#undef spk_board_storage_write
#undef spk_board_storage_read

enum { FAILED = 5, UNREADABLE = 9, POWER_IS_GONE = 77, RULE_IS_BROKEN = 78 };
enum { NOR_UNIT = 4, ECC_WORD = 16, PROGRAMMED = 1, TORN = 2 };

static uint32_t operations;

static int is_now(const char *variable) {
    const char *number = getenv(variable);

    return number && strtoul(number, NULL, 10) == operations;
}

static int is_kind(const char *kind) {
    const char *given = getenv("SPIKELET_STORAGE_KIND");

    return given && strcmp(given, kind) == 0;
}

_Noreturn static void broken(const char *rule, uint32_t offset) {
    fprintf(stderr, "storage: %s, at byte %u\n", rule, offset);
    _exit(RULE_IS_BROKEN);
}

// What is known of the word that holds a byte: it lies in the file behind the storage.
static off_t mark_at(uint32_t offset) {
    return (off_t)BYTES + offset / ECC_WORD;
}

static void mark(uint32_t offset, uint32_t size, uint8_t state) {
    for (uint32_t at = 0; at < size; at += ECC_WORD) {
        if (pwrite(file, &state, 1, mark_at(offset + at)) != 1) {
            fail("cannot be marked");
        }
    }
}

static uint8_t marked(uint32_t offset) {
    uint8_t state = 0;

    return pread(file, &state, 1, mark_at(offset)) == 1 ? state : 0;
}

int spk_board_storage_read(uint32_t offset, void *data, uint32_t size) {
    whole_read(offset, data, size);
    for (uint32_t at = 0; is_kind("ecc") && at < size; at++) {
        if (marked(offset + at) == TORN) {
            memset(data, 0xA5, size);
            return UNREADABLE;
        }
    }
    return 0;
}

int spk_board_storage_erase(uint32_t offset) {
    operations++;
    if (offset % PAGE) {
        broken("an erase that does not begin with a page", offset);
    }
    if (is_now("SPIKELET_STORAGE_ERROR")) {
        return FAILED;
    }
    open_file();
    if (is_now("SPIKELET_STORAGE_CUT")) {
        uint8_t erased[PIECE_MAX];
        memset(erased, 0xFF, sizeof erased);
        put(offset + PAGE / 2, erased, sizeof erased);
        mark(offset + PAGE / 2, sizeof erased, 0);
        mark(offset, ECC_WORD, TORN);
        _exit(POWER_IS_GONE);
    }
    const int code = whole_erase(offset);
    mark(offset, PAGE, 0);
    if (is_now("SPIKELET_STORAGE_AFTER")) {
        _exit(POWER_IS_GONE);
    }
    return code;
}

static void check_rules(uint32_t offset, const uint8_t *data, uint32_t size) {
    const uint32_t unit = is_kind("ecc") ? ECC_WORD : is_kind("nor") ? NOR_UNIT : 1;
    uint8_t before[PIECE_MAX];

    if (offset % unit || size % unit) {
        broken("a write that is not of whole units", offset);
    }
    whole_read(offset, before, size);
    for (uint32_t i = 0; i < size; i++) {
        if (is_kind("nor") && (before[i] & data[i]) != data[i]) {
            broken("a write that sets a bit", offset + i);
        }
        if (is_kind("ecc") && marked(offset + i)) {
            broken("a word that is programmed twice", offset + i);
        }
    }
}

int spk_board_storage_write(uint32_t offset, const uint8_t *data, uint32_t size) {
    operations++;
    if (is_now("SPIKELET_STORAGE_ERROR")) {
        return FAILED;
    }
    open_file();
    check_rules(offset, data, size);
    const int cut = is_now("SPIKELET_STORAGE_CUT");
    const uint32_t done = cut ? size / 2 : size;
    const int code = whole_write(offset, data, done);
    mark(offset, done, PROGRAMMED);
    if (cut) {
        mark(offset + done, ECC_WORD, TORN);
    }
    if (cut || is_now("SPIKELET_STORAGE_AFTER")) {
        _exit(POWER_IS_GONE);
    }
    return code;
}
