// Stellaris LM3S6965: the link on its first UART, a PL011 with 16 bytes each way; the core at
// 50 MHz from the PLL. QEMU does not emulate the controller that writes the chip's flash, so what
// is learned is kept in RAM. SPDX-License-Identifier: Apache-2.0
#include "arm_m.h"
#include "kept.h"
#include "uart.h"

enum {
    GPIO = 0x40004000, // port A, whose first two pins are the UART's
    GPIO_FUNCTION = GPIO + 0x420,
    GPIO_DIGITAL = GPIO + 0x51C,
    GPIO_UART = 3,
    SYS = 0x400FE000,
    SYS_RAW = SYS + 0x050,
    SYS_CLOCK = SYS + 0x060,
    SYS_CLOCK_UART = SYS + 0x104,
    SYS_CLOCK_GPIO = SYS + 0x108,
    RAW_PLL_LOCKED = 1 << 6,
    CLOCK_CRYSTAL = 0xE << 6, // of 8 MHz, the source; the PLL makes 200 MHz of it
    CLOCK_BYPASS = 1 << 11,
    CLOCK_FOURTH = 3 << 23 | 1 << 22,
};

const struct spk_board_info spk_board_info = {
    .isa = SPK_ISA, .tick_unit = SPK_TICK_CYCLE, .tick_hz = SPK_CORE_HZ};

static void clock_begin(void) {
    reg_write(SYS_CLOCK, CLOCK_BYPASS | CLOCK_CRYSTAL); // powers the PLL
    while (!(reg_read(SYS_RAW) & RAW_PLL_LOCKED)) {
    }
    reg_write(SYS_CLOCK, CLOCK_CRYSTAL | CLOCK_FOURTH);
}

void spk_board_init(void) {
    spk_kept_begin();
    clock_begin();
    spk_systick_start();
    reg_write(SYS_CLOCK_UART, 1);
    reg_write(SYS_CLOCK_GPIO, 1);
    (void)reg_read(SYS_CLOCK_GPIO); // a clock needs three cycles to arrive
    (void)reg_read(SYS_CLOCK_GPIO);
    reg_write(GPIO_FUNCTION, GPIO_UART);
    reg_write(GPIO_DIGITAL, GPIO_UART);
    spk_uart_start();
    spk_arm_listen();
}

void spk_board_unique_id(uint8_t id[8]) {
    static const uint8_t name[8] = "6965evb"; // the chip has no number of its own

    for (uint32_t i = 0; i < sizeof name; i++) {
        id[i] = name[i];
    }
}
