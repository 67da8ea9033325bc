// Arm's CMSDK UART (DDI 0479, 4.3), which holds one byte each way and has no check of the stop
// bit. SPK_UART_BASE; SPK_UART_HZ is PCLK. SPDX-License-Identifier: Apache-2.0
#include "uart.h"

enum {
    DATA = SPK_UART_BASE + 0x00,
    STATE = SPK_UART_BASE + 0x04,
    CTRL = SPK_UART_BASE + 0x08,
    INTCLEAR = SPK_UART_BASE + 0x0C,
    BAUDDIV = SPK_UART_BASE + 0x10,
    STATE_TX_FULL = 1 << 0,
    STATE_RX_FULL = 1 << 1,
    STATE_RX_OVERRUN = 1 << 3,
    CTRL_TX = 1 << 0,
    CTRL_RX = 1 << 1,
    CTRL_RX_IRQ = 1 << 3,
    INT_RX = 1 << 1,
    BAUDDIV_LEAST = 16,
};

void spk_uart_open(void) {
    spk_uart_divide(spk_uart_divisor(SPK_BAUD));
    reg_write(CTRL, CTRL_TX | CTRL_RX | CTRL_RX_IRQ);
}

// The request is cleared first: a byte that comes later makes another.
SPK_RAMFUNC void spk_uart_receive(void) {
    uint32_t state;

    reg_write(INTCLEAR, INT_RX);
    while ((state = reg_read(STATE)) & (STATE_RX_FULL | STATE_RX_OVERRUN)) {
        if (state & STATE_RX_OVERRUN) {
            reg_write(STATE, STATE_RX_OVERRUN);
            spk_uart_line.overruns++;
        }
        if (state & STATE_RX_FULL) {
            spk_uart_received((uint8_t)reg_read(DATA));
        }
    }
}

int spk_uart_accepts(void) {
    return !(reg_read(STATE) & STATE_TX_FULL);
}

void spk_uart_send(uint8_t byte) {
    reg_write(DATA, byte);
}

// The byte in the shift register is not seen: its time passes, two bits more.
int spk_uart_has_sent(void) {
    if (!spk_uart_accepts()) {
        return 0;
    }
    for (volatile uint32_t left = 12 * reg_read(BAUDDIV) / 4; left; left--) {
    }
    return 1;
}

// BAUDDIV is PCLK's cycles a bit.
uint32_t spk_uart_divisor(uint32_t baud) {
    const uint32_t cycles = baud ? (SPK_UART_HZ + baud / 2) / baud : 0;

    return cycles >= BAUDDIV_LEAST && cycles < 1 << 20 ? cycles : 0;
}

uint32_t spk_uart_rate(uint32_t divisor) {
    return divisor ? SPK_UART_HZ / divisor : 0;
}

void spk_uart_divide(uint32_t divisor) {
    reg_write(BAUDDIV, divisor);
}
