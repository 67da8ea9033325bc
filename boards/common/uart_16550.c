// The 16550: 16 bytes each way. SPK_UART_BASE; SPK_UART_HZ is the clock that the divisor divides.
// SPDX-License-Identifier: Apache-2.0
#include "uart.h"

enum {
    RBR_THR = 0x0, // receive and transmit; divisor, low, while DLAB is set
    IER = 0x1,     // divisor, high, while DLAB is set
    FCR = 0x2,
    LCR = 0x3,
    LSR = 0x5,
    FIFO_BYTES = 16,
    IER_RECEIVED = 1 << 0,    // bytes up to the trigger, or fewer and a pause
    FCR_ON = 1 << 0 | 3 << 1, // FIFOs on, and emptied
    FCR_TRIGGER_8 = 2 << 6,   // half: eight more bytes may come until the interrupt is taken
    LCR_8N1 = 3,
    LCR_DLAB = 1 << 7,
    LSR_READY = 1 << 0,
    LSR_OVERRUN = 1 << 1,
    LSR_GARBLED = 1 << 2 | 1 << 3 | 1 << 4, // parity, framing, break: of the byte to be read next
    LSR_THR_EMPTY = 1 << 5,                 // all 16 bytes are free
    LSR_IDLE = 1 << 6,
};

static uint8_t room; // bytes that the transmitter takes without a look

static volatile uint8_t *at(uint32_t offset) {
    return (volatile uint8_t *)(SPK_UART_BASE + offset);
}

void spk_uart_open(void) {
    spk_uart_divide(spk_uart_divisor(SPK_BAUD));
    *at(FCR) = FCR_ON | FCR_TRIGGER_8;
    *at(IER) = IER_RECEIVED;
}

SPK_RAMFUNC void spk_uart_receive(void) {
    for (;;) {
        const uint32_t state = *at(LSR); // which clears its errors
        if (state & LSR_OVERRUN) {
            spk_uart_line.overruns++;
        }
        if (!(state & LSR_READY)) {
            return;
        }
        if (state & LSR_GARBLED) {
            spk_uart_line.garbled++;
        }
        spk_uart_received(*at(RBR_THR));
    }
}

int spk_uart_accepts(void) {
    if (room == 0 && (*at(LSR) & LSR_THR_EMPTY)) {
        room = FIFO_BYTES;
    }
    return room != 0;
}

void spk_uart_send(uint8_t byte) {
    room--;
    *at(RBR_THR) = byte;
}

int spk_uart_has_sent(void) {
    return (*at(LSR) & LSR_IDLE) != 0;
}

uint32_t spk_uart_divisor(uint32_t baud) {
    const uint32_t divisor = baud ? (SPK_UART_HZ / 16 + baud / 2) / baud : 0;

    return divisor < 0x10000 ? divisor : 0;
}

uint32_t spk_uart_rate(uint32_t divisor) {
    return divisor ? SPK_UART_HZ / 16 / divisor : 0;
}

void spk_uart_divide(uint32_t divisor) {
    *at(LCR) = LCR_DLAB | LCR_8N1;
    *at(RBR_THR) = (uint8_t)divisor;
    *at(IER) = (uint8_t)(divisor >> 8);
    *at(LCR) = LCR_8N1;
}
