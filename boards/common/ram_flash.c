// Storage of a board whose emulator has no flash to write: a part of its RAM that no startup
// touches, so that it survives a reset. It behaves as flash does: a page is erased to FF, and a
// write only clears bits. SPDX-License-Identifier: Apache-2.0
#include "spk_board.h"

// board.toml's memory.storage, given by the build.
const struct spk_board_storage spk_board_storage = {SPK_STORAGE_BYTES, SPK_STORAGE_PAGE};

static volatile uint8_t *const flash = (volatile uint8_t *)SPK_STORAGE_BASE;

// An emulator that can stand still, as a core does that waits for its flash, is told for how many
// microseconds.
static void stall(void) {
#ifdef SPK_STALL_US
    *(volatile uint32_t *)SPK_STALL_AT = SPK_STALL_US;
#endif
}

int spk_board_storage_erase(uint32_t offset) {
    for (uint32_t i = 0; i < SPK_STORAGE_PAGE; i++) {
        flash[offset + i] = 0xFF;
    }
    stall();
    return 0;
}

int spk_board_storage_write(uint32_t offset, const uint8_t *data, uint32_t size) {
    for (uint32_t i = 0; i < size; i++) {
        flash[offset + i] &= data[i];
    }
    stall();
    return 0;
}

int spk_board_storage_read(uint32_t offset, void *data, uint32_t size) {
    uint8_t *out = data;

    for (uint32_t i = 0; i < size; i++) {
        out[i] = flash[offset + i];
    }
    return 0;
}
