// A board that keeps nothing without power: a commit is answered STORAGE.
// SPDX-License-Identifier: Apache-2.0
#include "spk_board.h"

const struct spk_board_storage spk_board_storage = {0, 0};

int spk_board_storage_erase(uint32_t offset) {
    (void)offset;
    return 1;
}

int spk_board_storage_write(uint32_t offset, const uint8_t *data, uint32_t size) {
    (void)offset;
    (void)data;
    (void)size;
    return 1;
}

int spk_board_storage_read(uint32_t offset, void *data, uint32_t size) {
    (void)offset;
    (void)data;
    (void)size;
    return 1;
}
