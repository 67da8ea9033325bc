// Nordic's nRF51 (reference manual 3.0) and nRF52 (product specification, 4.3 NVMC, 4.4 FICR):
// storage in the end of the part's own flash, and its number. SPDX-License-Identifier: Apache-2.0
#include "core.h"
#include "spk_board.h"

enum {
    FICR_DEVICEID = 0x10000060, // two words
    NVMC_READY = 0x4001E400,
    NVMC_CONFIG = 0x4001E504,
    NVMC_ERASEPAGE = 0x4001E508,
    CONFIG_READ = 0,
    CONFIG_WRITE = 1,
    CONFIG_ERASE = 2,
};

const struct spk_board_storage spk_board_storage = {SPK_STORAGE_BYTES, SPK_STORAGE_PAGE};

void spk_board_unique_id(uint8_t id[8]) {
    reg_read_id(FICR_DEVICEID, id);
}

// While the flash is written a core that executes from it stands still.
SPK_RAMFUNC static void nvmc(uint32_t mode) {
    while (!(reg_read(NVMC_READY) & 1)) {
    }
    reg_write(NVMC_CONFIG, mode);
}

SPK_RAMFUNC int spk_board_storage_erase(uint32_t offset) {
    nvmc(CONFIG_ERASE);
    reg_write(NVMC_ERASEPAGE, SPK_STORAGE_BASE + offset);
    nvmc(CONFIG_READ);
    return 0;
}

SPK_RAMFUNC int spk_board_storage_write(uint32_t offset, const uint8_t *data, uint32_t size) {
    nvmc(CONFIG_WRITE);
    for (uint32_t i = 0; i < size; i += 4) { // the flash takes words
        reg_write(SPK_STORAGE_BASE + offset + i, word_of(data + i));
        nvmc(CONFIG_WRITE);
    }
    nvmc(CONFIG_READ);
    return 0;
}
