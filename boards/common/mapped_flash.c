// Storage that is read where it lies among the addresses, without error correction.
// SPDX-License-Identifier: Apache-2.0
#include "spk_board.h"

int spk_board_storage_read(uint32_t offset, void *data, uint32_t size) {
    const volatile uint8_t *flash = (const volatile uint8_t *)(SPK_STORAGE_BASE + offset);
    uint8_t *out = data;

    for (uint32_t i = 0; i < size; i++) {
        out[i] = flash[i];
    }
    return 0;
}
