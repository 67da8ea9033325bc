// BBC micro:bit: nRF51822 with a Cortex-M0. The link on the UART, which holds six bytes; ticks of
// 16 MHz, the core's clock, from TIMER0: the chip has no SysTick. In QEMU a stack overflow is a
// fault like others; the chip's core locks up instead, which resets it without a record.
// SPDX-License-Identifier: Apache-2.0
#include "arm_m.h"
#include "kept.h"
#include "uart.h"

enum {
    TIMER = 0x40008000,
    TIMER_START = TIMER + 0x000,
    TIMER_CLEAR = TIMER + 0x00C,
    TIMER_CAPTURE0 = TIMER + 0x040,
    TIMER_BITS = TIMER + 0x508,
    TIMER_PRESCALER = TIMER + 0x510,
    TIMER_CC0 = TIMER + 0x540,
    BITS_32 = 3,
    CHIP_ID = 0x10000060, // two words
    NVMC_READY = 0x4001E400,
    NVMC_CONFIG = 0x4001E504,
    NVMC_ERASE_PAGE = 0x4001E508,
    NVMC_READ = 0,
    NVMC_WRITE = 1,
    NVMC_ERASE = 2,
};

const struct spk_board_info spk_board_info = {
    .isa = SPK_ISA, .tick_unit = SPK_TICK_CYCLE, .tick_hz = SPK_CORE_HZ};

// The end of the chip's own flash, as in board.toml.
const struct spk_board_storage spk_board_storage = {SPK_STORAGE_BYTES, SPK_STORAGE_PAGE};

static uint32_t passed; // ticks until the timer was cleared

void spk_board_init(void) {
    spk_kept_begin();
    reg_write(TIMER_BITS, BITS_32);
    reg_write(TIMER_PRESCALER, 0);
    reg_write(TIMER_START, 1);
    spk_uart_start();
    spk_arm_listen();
}

uint32_t spk_core_ticks(void) {
    reg_write(TIMER_CAPTURE0, 1);
    return passed + reg_read(TIMER_CC0);
}

void spk_board_ticks_begin(void) {
    irq_off();
    passed = spk_core_ticks();
    reg_write(TIMER_CLEAR, 1);
    irq_on();
}

void spk_board_unique_id(uint8_t id[8]) {
    for (uint32_t i = 0; i < 8; i++) {
        id[i] = (uint8_t)(reg_read(CHIP_ID + (i & 4)) >> 8 * (i & 3));
    }
}

// While the flash is written the core stands still: it executes from the same flash.
static void nvmc(uint32_t mode) {
    while (!(reg_read(NVMC_READY) & 1)) {
    }
    reg_write(NVMC_CONFIG, mode);
}

int spk_board_storage_erase(uint32_t offset) {
    nvmc(NVMC_ERASE);
    reg_write(NVMC_ERASE_PAGE, SPK_STORAGE_BASE + offset);
    nvmc(NVMC_READ);
    return 0;
}

int spk_board_storage_write(uint32_t offset, const uint8_t *data, uint32_t size) {
    nvmc(NVMC_WRITE);
    for (uint32_t i = 0; i < size; i += 4) { // the flash takes words
        const uint32_t word = (uint32_t)data[i] | (uint32_t)data[i + 1] << 8 |
                              (uint32_t)data[i + 2] << 16 | (uint32_t)data[i + 3] << 24;
        reg_write(SPK_STORAGE_BASE + offset + i, word);
        nvmc(NVMC_WRITE);
    }
    nvmc(NVMC_READ);
    return 0;
}

int spk_board_storage_read(uint32_t offset, void *data, uint32_t size) {
    const volatile uint8_t *flash = (const volatile uint8_t *)(SPK_STORAGE_BASE + offset);
    uint8_t *out = data;

    for (uint32_t i = 0; i < size; i++) {
        out[i] = flash[i];
    }
    return 0;
}
