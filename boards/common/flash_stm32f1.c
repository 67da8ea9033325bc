// The flash controller of STM32F1 (PM0075: FLASH_KEYR, SR, CR, AR), which GD32VF103 (FMC_KEY, STAT,
// CTL, ADDR) and CH32V203 (FLASH_KEYR, STATR, CTLR, ADDR) took over: storage in the end of the
// part's flash, 16 bits at a time. The core stands still meanwhile where it executes from the same
// flash. SPDX-License-Identifier: Apache-2.0
#include "core.h"
#include "spk_board.h"

enum {
    FLASH_KEYR = 0x40022004,
    FLASH_SR = 0x4002200C,
    FLASH_CR = 0x40022010,
    FLASH_AR = 0x40022014,
    KEY1 = 0x45670123,
    SR_BSY = 1 << 0,
    SR_PGERR = 1 << 2,
    SR_WRPRTERR = 1 << 4,
    SR_EOP = 1 << 5,
    CR_PG = 1 << 0,
    CR_PER = 1 << 1,
    CR_STRT = 1 << 6,
    CR_LOCK = 1 << 7,
};

static const uint32_t key2 = 0xCDEF89AB;

// What 16 erased bits read as. Where that is not FFFF all that is stored is turned by the
// difference, so that what is read back is: the board's spk_board_storage_read() turns it back.
#ifndef SPK_FLASH_ERASED
#define SPK_FLASH_ERASED 0xFFFF
#endif

#ifdef SPK_FLASH_SLOW // the board slows its clock for the controller
void spk_flash_begin(void);
void spk_flash_end(void);
#else
static inline void spk_flash_begin(void) {
}

static inline void spk_flash_end(void) {
}
#endif

const struct spk_board_storage spk_board_storage = {SPK_STORAGE_BYTES, SPK_STORAGE_PAGE};

SPK_RAMFUNC static void flash_wait(void) {
    while (reg_read(FLASH_SR) & SR_BSY) {
    }
}

static void flash_open(void) {
    spk_flash_begin();
    reg_write(FLASH_KEYR, KEY1);
    reg_write(FLASH_KEYR, key2);
    reg_write(FLASH_SR, SR_PGERR | SR_WRPRTERR | SR_EOP); // ones clear
}

static int flash_close(void) {
    const uint32_t errors = reg_read(FLASH_SR) & (SR_PGERR | SR_WRPRTERR);
    reg_write(FLASH_CR, CR_LOCK);
    spk_flash_end();
    return (int)errors;
}

SPK_RAMFUNC static void erase(uint32_t address) {
    reg_write(FLASH_CR, CR_PER);
    reg_write(FLASH_AR, address);
    reg_write(FLASH_CR, CR_PER | CR_STRT);
    flash_wait();
}

int spk_board_storage_erase(uint32_t offset) {
    flash_open();
    erase(SPK_STORAGE_BASE + offset);
    return flash_close();
}

SPK_RAMFUNC static void program(uint32_t address, uint32_t value) {
    *(volatile uint16_t *)address = (uint16_t)value;
    flash_wait();
}

int spk_board_storage_write(uint32_t offset, const uint8_t *data, uint32_t size) {
    flash_open();
    reg_write(FLASH_CR, CR_PG);
    for (uint32_t i = 0; i < size; i += 2) {
        const uint32_t value = (uint32_t)data[i] | (uint32_t)data[i + 1] << 8;
        if (value != 0xFFFF) { // which is what it reads as
            program(SPK_STORAGE_BASE + offset + i, value ^ 0xFFFF ^ SPK_FLASH_ERASED);
        }
    }
    return flash_close();
}
