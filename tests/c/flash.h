// Flash as a test wants it: strict about what real flash demands, and able to fail.
//   flash_cut(n, how)    power goes in the n-th operation from now: flash_power is jumped to
//   flash_error(n, code) the n-th operation from now answers `code`
//   flash_stuck          a bit that writes cannot clear: 1 + its number; 0 = none
//   flash_is(kind)       what it is made of, below
// Every kind is programmed once between two erases, and then bits go from 1 to 0 only.
// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spk_board.h"

#ifndef FLASH_PAGES
#define FLASH_PAGES 6
#endif
#ifndef FLASH_PAGE_BYTES
#define FLASH_PAGE_BYTES 256
#endif
enum { FLASH_PAGE = FLASH_PAGE_BYTES, FLASH_BYTES = FLASH_PAGES * FLASH_PAGE, FLASH_PIECE = 64 };
// What is left of the operation that power goes in.
enum { CUT_BEFORE, CUT_HALF, CUT_NOISE, CUT_AFTER, CUT_KINDS };
// PLAIN: any byte may be cut. NOR: programmed by 4 bytes, of which the one that power goes in may
// hold any of its bits. ECC: by words of 16 bytes; the one that power goes in cannot be read.
enum { FLASH_PLAIN, FLASH_NOR, FLASH_ECC, FLASH_KINDS };
enum { FLASH_UNREADABLE = 9 };

const struct spk_board_storage spk_board_storage = {FLASH_BYTES, FLASH_PAGE};

static uint8_t flash[FLASH_BYTES];
static uint8_t flash_torn[FLASH_BYTES]; // of ECC: bytes of words that cannot be read
static jmp_buf flash_power;
static uint32_t flash_cut_in, flash_cut_how, flash_error_in, flash_stuck, flash_operations;
static uint32_t flash_kind, flash_erases[FLASH_PAGES];
static int flash_code;

#define FLASH_CHECK(what)                                                                          \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "flash: %s\n", #what);                                                 \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static inline void flash_cut(uint32_t n, uint32_t how) {
    flash_cut_in = n;
    flash_cut_how = how;
}

static inline void flash_error(uint32_t n, int code) {
    flash_error_in = n;
    flash_code = code;
}

// A new part: erased, of that kind.
static inline void flash_is(uint32_t kind) {
    flash_kind = kind;
    memset(flash, 0xFF, sizeof flash);
    memset(flash_torn, 0, sizeof flash_torn);
    memset(flash_erases, 0, sizeof flash_erases);
}

static uint32_t flash_unit(void) {
    const uint32_t units[] = {1, 4, 16};

    return units[flash_kind];
}

static uint32_t flash_noise(void) {
    static uint32_t noise = 1;

    noise = noise * 1664525u + 1013904223u;
    return noise >> 16;
}

// A unit that power went in.
static void flash_tear(uint32_t at, const uint8_t *wanted, uint32_t unit) {
    for (uint32_t i = 0; i < unit; i++) {
        flash[at + i] ^= (uint8_t)((flash[at + i] ^ wanted[i]) & flash_noise());
        flash_torn[at + i] = flash_kind == FLASH_ECC;
    }
}

// Turns the bytes at `at` into `wanted`, or into a part of it and no return.
static int flash_become(uint32_t at, const uint8_t *wanted, uint32_t size) {
    const uint32_t unit = flash_unit();

    flash_operations++;
    if (flash_error_in && --flash_error_in == 0) {
        return flash_code;
    }
    const int cut = flash_cut_in && --flash_cut_in == 0;
    for (uint32_t i = 0; i < size; i += unit) {
        const int before = flash_cut_how == CUT_HALF && i < size / 2;
        const uint32_t fate = flash_noise() % 3; // of noise: done, torn, or as it was
        if (!cut || flash_cut_how == CUT_AFTER || before || (flash_cut_how == CUT_NOISE && !fate)) {
            memcpy(flash + at + i, wanted + i, unit);
            memset(flash_torn + at + i, 0, unit);
        } else if ((flash_cut_how == CUT_HALF && i - size / 2 < unit) ||
                   (flash_cut_how == CUT_NOISE && fate == 1)) {
            flash_tear(at + i, wanted + i, unit);
        }
    }
    if (flash_stuck) {
        flash[(flash_stuck - 1) / 8] |= (uint8_t)(1u << (flash_stuck - 1) % 8);
    }
    if (cut) {
        longjmp(flash_power, 1);
    }
    return 0;
}

int spk_board_storage_erase(uint32_t offset) {
    uint8_t page[FLASH_PAGE];

    FLASH_CHECK(offset % FLASH_PAGE == 0 && offset < FLASH_BYTES);
    flash_erases[offset / FLASH_PAGE]++;
    memset(page, 0xFF, sizeof page);
    return flash_become(offset, page, sizeof page);
}

int spk_board_storage_write(uint32_t offset, const uint8_t *data, uint32_t size) {
    FLASH_CHECK(offset % FLASH_PIECE == 0 && size == FLASH_PIECE);
    FLASH_CHECK(offset <= FLASH_BYTES - size);
    for (uint32_t i = 0; i < size; i++) {
        FLASH_CHECK(flash[offset + i] == 0xFF || flash_stuck); // written once between two erases
        FLASH_CHECK(!flash_torn[offset + i]);
    }
    return flash_become(offset, data, size);
}

int spk_board_storage_read(uint32_t offset, void *data, uint32_t size) {
    FLASH_CHECK(offset <= FLASH_BYTES && size <= FLASH_BYTES - offset);
    memcpy(data, flash + offset, size);
    for (uint32_t i = 0; i < size; i++) {
        if (flash_torn[offset + i]) {
            memset(data, 0xA5, size);
            return FLASH_UNREADABLE;
        }
    }
    return 0;
}
