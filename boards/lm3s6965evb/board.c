// Stellaris LM3S6965: the link on its first UART, a PL011 with 16 bytes each way; the core at
// 50 MHz from the PLL. QEMU does not emulate the controller that writes the chip's flash, so what
// is learned is kept in RAM. SPDX-License-Identifier: Apache-2.0
#include "arm_m.h"
#include "kept.h"

enum {
    UART = 0x4000C000,
    UART_IRQ = 5,
    UART_DATA = UART + 0x000,
    UART_FLAGS = UART + 0x018,
    UART_BAUD = UART + 0x024,
    UART_BAUD_64TH = UART + 0x028,
    UART_LINE = UART + 0x02C,
    UART_CTRL = UART + 0x030,
    UART_FIFO = UART + 0x034,
    UART_IRQ_ON = UART + 0x038,
    UART_IRQ_CLEAR = UART + 0x044,
    FLAGS_RX_EMPTY = 1 << 4,
    FLAGS_TX_FULL = 1 << 5,
    LINE_8_BITS_FIFO = 3 << 5 | 1 << 4,
    CTRL_ON = 1 << 9 | 1 << 8 | 1, // receiver, transmitter, both
    FIFO_EARLIEST = 0,             // asks at an eighth of 16 bytes, or when the line falls silent
    IRQ_RX = 1 << 6 | 1 << 4,      // silence, bytes
    BAUD_115200 = 1736,            // 64ths of 16 bits' time: 50 MHz * 4 / 115200
    GPIO = 0x40004000,             // port A, whose first two pins are the UART's
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
    .isa = SPK_ISA, .tick_unit = SPK_TICK_CYCLE, .tick_hz = 50000000};

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
    reg_write(UART_BAUD, BAUD_115200 / 64);
    reg_write(UART_BAUD_64TH, BAUD_115200 % 64);
    reg_write(UART_LINE, LINE_8_BITS_FIFO);
    reg_write(UART_FIFO, FIFO_EARLIEST);
    reg_write(UART_IRQ_ON, IRQ_RX);
    reg_write(UART_CTRL, CTRL_ON);
}

uint32_t spk_board_rx(uint8_t *buffer, uint32_t size) {
    uint32_t n = 0;
    while (n < size && !(reg_read(UART_FLAGS) & FLAGS_RX_EMPTY)) {
        buffer[n++] = (uint8_t)reg_read(UART_DATA);
    }
    return n;
}

void spk_board_tx(const uint8_t *buffer, uint32_t size) {
    while (size-- > 0) {
        while (reg_read(UART_FLAGS) & FLAGS_TX_FULL) {
        }
        reg_write(UART_DATA, *buffer++);
    }
}

void spk_board_idle(void) {
    reg_write(UART_IRQ_CLEAR, IRQ_RX);
    spk_arm_forget(UART_IRQ);
    if (reg_read(UART_FLAGS) & FLAGS_RX_EMPTY) {
        spk_arm_sleep(UART_IRQ);
    }
}

void spk_board_unique_id(uint8_t id[8]) {
    static const uint8_t name[8] = "6965evb"; // the chip has no number of its own

    for (uint32_t i = 0; i < sizeof name; i++) {
        id[i] = name[i];
    }
}
