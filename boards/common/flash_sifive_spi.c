// SPI flash behind SiFive's QSPI0, from which the core executes (FE310-G002 manual, "Serial
// Peripheral Interface"; commands of the IS25LP032D, those of any such flash): storage in its end.
// The controller leaves its memory-mapped mode meanwhile, so all of it runs from RAM.
// SPDX-License-Identifier: Apache-2.0
#include "core.h"
#include "spk_board.h"

enum {
    QSPI0 = 0x10014000,
    QSPI_CSMODE = QSPI0 + 0x18,
    QSPI_FMT = QSPI0 + 0x40,
    QSPI_TXDATA = QSPI0 + 0x48,
    QSPI_RXDATA = QSPI0 + 0x4C,
    QSPI_FCTRL = QSPI0 + 0x60,
    CSMODE_AUTO = 0,
    CSMODE_HOLD = 2,
    FMT_SINGLE_8_BITS = 8 << 16, // len; proto 0: one line, endian 0: the highest bit first
    FCTRL_EN = 1,                // memory-mapped
    SPI_BASE = 0x20000000,       // where the flash is mapped
    PAGE_PROGRAM = 0x02,
    READ_STATUS = 0x05,
    WRITE_ENABLE = 0x06,
    SECTOR_ERASE = 0x20, // 4 KB
    STATUS_WIP = 1,      // write in progress
    PROGRAM_BYTES = 256, // at the most, within a page of as many
};

_Static_assert(SPK_STORAGE_PAGE == 4096, "what SECTOR_ERASE erases");

const struct spk_board_storage spk_board_storage = {SPK_STORAGE_BYTES, SPK_STORAGE_PAGE};

#define NONE (1u << 31) // of TXDATA: full; of RXDATA: empty

SPK_RAMFUNC static uint32_t exchange(uint32_t byte) {
    uint32_t answer;

    while (reg_read(QSPI_TXDATA) & NONE) {
    }
    reg_write(QSPI_TXDATA, byte);
    while ((answer = reg_read(QSPI_RXDATA)) & NONE) {
    }
    return answer;
}

// The flash stays selected until end().
SPK_RAMFUNC static void begin(uint32_t command) {
    reg_write(QSPI_CSMODE, CSMODE_HOLD);
    exchange(command);
}

SPK_RAMFUNC static void end(void) {
    reg_write(QSPI_CSMODE, CSMODE_AUTO);
}

// `data` NULL: the sector is erased.
SPK_RAMFUNC static void flash_change(uint32_t address, const uint8_t *data, uint32_t size) {
    const uint32_t format = reg_read(QSPI_FMT);

    reg_write(QSPI_FCTRL, 0);
    reg_write(QSPI_FMT, FMT_SINGLE_8_BITS);
    begin(WRITE_ENABLE);
    end();
    begin(data ? PAGE_PROGRAM : SECTOR_ERASE);
    exchange(address >> 16 & 0xFF);
    exchange(address >> 8 & 0xFF);
    exchange(address & 0xFF);
    for (uint32_t i = 0; i < size; i++) {
        exchange(data[i]);
    }
    end();
    begin(READ_STATUS);
    while (exchange(0) & STATUS_WIP) {
    }
    end();
    reg_write(QSPI_FMT, format);
    reg_write(QSPI_FCTRL, FCTRL_EN);
}

int spk_board_storage_erase(uint32_t offset) {
    flash_change(SPK_STORAGE_BASE - SPI_BASE + offset, 0, 0);
    return 0;
}

int spk_board_storage_write(uint32_t offset, const uint8_t *data, uint32_t size) {
    while (size) {
        const uint32_t room = PROGRAM_BYTES - offset % PROGRAM_BYTES;
        const uint32_t part = size < room ? size : room;

        flash_change(SPK_STORAGE_BASE - SPI_BASE + offset, data, part);
        offset += part;
        data += part;
        size -= part;
    }
    return 0;
}
