// Arm's PL011 (DDI 0183): at least 16 bytes each way. SPK_UART_BASE; SPK_UART_HZ is UARTCLK.
// SPDX-License-Identifier: Apache-2.0
#include "uart.h"

enum {
    UARTDR = SPK_UART_BASE + 0x000,
    UARTFR = SPK_UART_BASE + 0x018,
    UARTIBRD = SPK_UART_BASE + 0x024,
    UARTFBRD = SPK_UART_BASE + 0x028,
    UARTLCR_H = SPK_UART_BASE + 0x02C,
    UARTCR = SPK_UART_BASE + 0x030,
    UARTIFLS = SPK_UART_BASE + 0x034,
    UARTIMSC = SPK_UART_BASE + 0x038,
    UARTICR = SPK_UART_BASE + 0x044,
    DR_GARBLED = 1 << 8 | 1 << 9 | 1 << 10, // framing, parity, break: of this byte
    DR_OVERRUN = 1 << 11,                   // bytes were lost behind this one
    FR_BUSY = 1 << 3,
    FR_RX_EMPTY = 1 << 4,
    FR_TX_FULL = 1 << 5,
    LCR_8N1_FIFO = 3 << 5 | 1 << 4,
    CR_ON = 1 << 9 | 1 << 8 | 1, // receiver, transmitter, both
    IFLS_EARLIEST = 0,           // asks at an eighth of the FIFO, or after 32 bits of silence
    INT_RX = 1 << 6 | 1 << 4,    // silence, bytes
};

void spk_uart_open(void) {
    reg_write(UARTCR, 0);
    spk_uart_divide(spk_uart_divisor(SPK_BAUD));
    reg_write(UARTIFLS, IFLS_EARLIEST);
    reg_write(UARTIMSC, INT_RX);
    reg_write(UARTCR, CR_ON);
}

// The request is cleared first: a byte that comes later makes another.
SPK_RAMFUNC void spk_uart_receive(void) {
    reg_write(UARTICR, INT_RX);
    while (!(reg_read(UARTFR) & FR_RX_EMPTY)) {
        const uint32_t data = reg_read(UARTDR);
        if (data & DR_OVERRUN) {
            spk_uart_line.overruns++;
        }
        if (data & DR_GARBLED) {
            spk_uart_line.garbled++;
        }
        spk_uart_received((uint8_t)data);
    }
}

int spk_uart_accepts(void) {
    return !(reg_read(UARTFR) & FR_TX_FULL);
}

void spk_uart_send(uint8_t byte) {
    reg_write(UARTDR, byte);
}

int spk_uart_has_sent(void) {
    return !(reg_read(UARTFR) & FR_BUSY);
}

// UARTIBRD and UARTFBRD in one: 64ths of 16 bits' time.
uint32_t spk_uart_divisor(uint32_t baud) {
    const uint32_t parts = baud ? (SPK_UART_HZ * 4u + baud / 2) / baud : 0;

    return parts >= 64 && parts < 0x10000 * 64 ? parts : 0;
}

uint32_t spk_uart_rate(uint32_t divisor) {
    return divisor ? SPK_UART_HZ * 4u / divisor : 0;
}

// Writing UARTLCR_H takes the divisor over.
void spk_uart_divide(uint32_t divisor) {
    reg_write(UARTIBRD, divisor / 64);
    reg_write(UARTFBRD, divisor % 64);
    reg_write(UARTLCR_H, LCR_8N1_FIFO);
}
