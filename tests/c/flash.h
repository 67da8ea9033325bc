// Flash as a test wants it: strict about what real flash demands, and able to fail.
//   flash_cut(n, how)   power goes in the n-th operation from now: flash_power is jumped to
//   flash_error(n, code) the n-th operation from now answers `code`
//   flash_stuck         a bit that writes cannot clear: 1 + its number; 0 = none
// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spk_board.h"

enum { FLASH_PAGE = 256, FLASH_BYTES = 4 * FLASH_PAGE, FLASH_PIECE = 64 };
// What is left of the operation that power goes in.
enum { CUT_BEFORE, CUT_HALF, CUT_NOISE, CUT_AFTER, CUT_KINDS };

const struct spk_board_storage spk_board_storage = {FLASH_BYTES, FLASH_PAGE};

static uint8_t flash[FLASH_BYTES];
static jmp_buf flash_power;
static uint32_t flash_cut_in, flash_cut_how, flash_error_in, flash_stuck, flash_operations;
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

// Turns the bytes at `at` into `wanted`, or into a part of it and no return.
static int flash_become(uint8_t *at, const uint8_t *wanted, uint32_t size) {
    static uint32_t noise = 1;

    flash_operations++;
    if (flash_error_in && --flash_error_in == 0) {
        return flash_code;
    }
    const int cut = flash_cut_in && --flash_cut_in == 0;
    for (uint32_t i = 0; i < size; i++) {
        noise = noise * 1664525u + 1013904223u;
        const uint8_t both = (uint8_t)(at[i] ^ wanted[i]);
        if (!cut || flash_cut_how == CUT_AFTER || (flash_cut_how == CUT_HALF && i < size / 2)) {
            at[i] = wanted[i];
        } else if (flash_cut_how == CUT_NOISE) {
            at[i] = (uint8_t)(at[i] ^ (both & noise >> 16));
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
    memset(page, 0xFF, sizeof page);
    return flash_become(flash + offset, page, sizeof page);
}

int spk_board_storage_write(uint32_t offset, const uint8_t *data, uint32_t size) {
    FLASH_CHECK(offset % FLASH_PIECE == 0 && size == FLASH_PIECE);
    FLASH_CHECK(offset <= FLASH_BYTES - size);
    for (uint32_t i = 0; i < size; i++) {
        FLASH_CHECK(flash[offset + i] == 0xFF || flash_stuck); // written once between two erases
    }
    return flash_become(flash + offset, data, size);
}

int spk_board_storage_read(uint32_t offset, void *data, uint32_t size) {
    FLASH_CHECK(offset <= FLASH_BYTES && size <= FLASH_BYTES - offset);
    memcpy(data, flash + offset, size);
    return 0;
}
