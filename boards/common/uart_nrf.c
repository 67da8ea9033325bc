// Nordic's UART without DMA, of nRF51 and nRF52 (nRF52840 PS, 6.33): 6 bytes of receive FIFO, one
// to send. It has rates of its own, each a value of BAUDRATE. SPK_UART_BASE, SPK_UART_TX and
// SPK_UART_RX (pins of port 0). SPDX-License-Identifier: Apache-2.0
#include "uart.h"

enum {
    TASKS_STARTRX = SPK_UART_BASE + 0x000,
    TASKS_STARTTX = SPK_UART_BASE + 0x008,
    EVENTS_RXDRDY = SPK_UART_BASE + 0x108,
    EVENTS_TXDRDY = SPK_UART_BASE + 0x11C,
    EVENTS_ERROR = SPK_UART_BASE + 0x124,
    INTENSET = SPK_UART_BASE + 0x304,
    ERRORSRC = SPK_UART_BASE + 0x480,
    ENABLE = SPK_UART_BASE + 0x500,
    PSELTXD = SPK_UART_BASE + 0x50C,
    PSELRXD = SPK_UART_BASE + 0x514,
    RXD = SPK_UART_BASE + 0x518,
    TXD = SPK_UART_BASE + 0x51C,
    BAUDRATE = SPK_UART_BASE + 0x524,
    GPIO_OUTSET = 0x50000508,
    GPIO_DIRSET = 0x50000518,
    GPIO_PIN_CNF = 0x50000700, // a word a pin
    PIN_INPUT_PULL_UP = 3 << 2,
    ENABLE_UART = 4,
    INT_RXDRDY = 1 << 2,
    INT_ERROR = 1 << 9,
    ERROR_OVERRUN = 1 << 0,
    ERROR_GARBLED = 1 << 1 | 1 << 2 | 1 << 3, // parity, framing, break
};

static const struct {
    uint32_t baud;
    uint32_t value;
} rates[] = {
    {9600, 0x00275000},   {19200, 0x004EA000},  {38400, 0x009D5000},
    {57600, 0x00EBF000},  {115200, 0x01D7E000}, {230400, 0x03AFB000},
    {460800, 0x075F7000}, {921600, 0x0EBED000}, {1000000, 0x10000000},
};

static uint8_t busy; // a byte was handed over whose event has not been seen

void spk_uart_open(void) {
    reg_write(GPIO_OUTSET, 1u << SPK_UART_TX); // what the line is while the UART is off
    reg_write(GPIO_DIRSET, 1u << SPK_UART_TX);
    reg_write(GPIO_PIN_CNF + 4 * SPK_UART_RX, PIN_INPUT_PULL_UP);
    reg_write(PSELTXD, SPK_UART_TX);
    reg_write(PSELRXD, SPK_UART_RX);
    spk_uart_divide(spk_uart_divisor(SPK_BAUD));
    reg_write(ENABLE, ENABLE_UART);
    reg_write(INTENSET, INT_RXDRDY | INT_ERROR);
    reg_write(TASKS_STARTRX, 1);
    reg_write(TASKS_STARTTX, 1);
}

SPK_RAMFUNC void spk_uart_receive(void) {
    const uint32_t errors = reg_read(ERRORSRC);

    if (errors || reg_read(EVENTS_ERROR)) {
        reg_write(EVENTS_ERROR, 0);
        reg_write(ERRORSRC, errors); // ones clear
        if (errors & ERROR_OVERRUN) {
            spk_uart_line.overruns++;
        }
        if (errors & ERROR_GARBLED) {
            spk_uart_line.garbled++;
        }
    }
    while (reg_read(EVENTS_RXDRDY)) {
        reg_write(EVENTS_RXDRDY, 0); // first: reading raises it again for the next byte
        spk_uart_received((uint8_t)reg_read(RXD));
    }
}

int spk_uart_accepts(void) {
    if (busy && reg_read(EVENTS_TXDRDY)) {
        reg_write(EVENTS_TXDRDY, 0);
        busy = 0;
    }
    return !busy;
}

void spk_uart_send(uint8_t byte) {
    busy = 1;
    reg_write(TXD, byte);
}

int spk_uart_has_sent(void) {
    return spk_uart_accepts();
}

// The place in the table, counted from 1.
uint32_t spk_uart_divisor(uint32_t baud) {
    for (uint32_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        if (rates[i].baud == baud) {
            return i + 1;
        }
    }
    return 0;
}

uint32_t spk_uart_rate(uint32_t divisor) {
    return divisor ? rates[divisor - 1].baud : 0;
}

void spk_uart_divide(uint32_t divisor) {
    reg_write(BAUDRATE, rates[divisor - 1].value);
}
