// The ESP32-C3's UART: 128 bytes each way, on its crystal's clock. Registers as the technical
// reference manual (chapter UART) and Espressif's soc/uart_reg.h name them. SPK_UART_BASE;
// SPK_UART_HZ is the crystal's rate. SPDX-License-Identifier: Apache-2.0
#include "uart.h"

enum {
    UART_FIFO = SPK_UART_BASE + 0x00,
    UART_INT_RAW = SPK_UART_BASE + 0x04,
    UART_INT_ENA = SPK_UART_BASE + 0x0C,
    UART_INT_CLR = SPK_UART_BASE + 0x10,
    UART_CLKDIV = SPK_UART_BASE + 0x14,
    UART_STATUS = SPK_UART_BASE + 0x1C,
    UART_CONF0 = SPK_UART_BASE + 0x20,
    UART_CONF1 = SPK_UART_BASE + 0x24,
    UART_MEM_CONF = SPK_UART_BASE + 0x60,
    UART_FSM_STATUS = SPK_UART_BASE + 0x6C,
    UART_CLK_CONF = SPK_UART_BASE + 0x78,
    UART_ID = SPK_UART_BASE + 0x80,
    INT_RXFIFO_FULL = 1 << 0,
    INT_PARITY_ERR = 1 << 2,
    INT_FRM_ERR = 1 << 3,
    INT_RXFIFO_OVF = 1 << 4,
    INT_RXFIFO_TOUT = 1 << 8,
    INT_RX = INT_RXFIFO_FULL | INT_RXFIFO_TOUT | INT_RXFIFO_OVF,
    CLKDIV_FRAG = 20, // position of 16ths
    STATUS_RXFIFO_CNT = 0x3FF,
    STATUS_TXFIFO_CNT = 16,                // position
    CONF0_8N1 = 3 << 2 | 1 << 4 | 1 << 28, // BIT_NUM 8, STOP_BIT_NUM 1, MEM_CLK_EN
    CONF0_RXFIFO_RST = 1 << 17,
    CONF0_TXFIFO_RST = 1 << 18,
    CONF1_RX = 16 | 96 << 9 | 1 << 21, // RXFIFO_FULL_THRHD, TXFIFO_EMPTY_THRHD, RX_TOUT_EN
    MEM_CONF_SIZES = 1 << 1 | 1 << 4 | 10 << 16, // RX_SIZE, TX_SIZE: 128 bytes; RX_TOUT_THRHD
    FSM_UTX_OUT = 15 << 4,                       // ST_UTX_OUT: 0 is idle
    // SCLK_SEL 3: the crystal, divided by SCLK_DIV_NUM + 1 = 1; SCLK_EN, TX_SCLK_EN, RX_SCLK_EN.
    CLK_CONF_XTAL = 3 << 20 | 1 << 22 | 1 << 24 | 1 << 25,
    CLK_CONF_RST_CORE = 1 << 23,
    ID_HIGH_SPEED = 1 << 30, // registers are taken over by themselves
    TX_BYTES = 127,          // of 128: the count is late by one
};

void spk_uart_open(void) {
    reg_write(UART_CLK_CONF, CLK_CONF_XTAL | CLK_CONF_RST_CORE);
    reg_write(UART_CLK_CONF, CLK_CONF_XTAL);
    reg_set(UART_ID, ID_HIGH_SPEED);
    spk_uart_divide(spk_uart_divisor(SPK_BAUD));
    reg_write(UART_MEM_CONF, MEM_CONF_SIZES);
    reg_write(UART_CONF0, CONF0_8N1 | CONF0_RXFIFO_RST | CONF0_TXFIFO_RST);
    reg_write(UART_CONF0, CONF0_8N1);
    reg_write(UART_CONF1, CONF1_RX);
    reg_write(UART_INT_CLR, ~0u);
    reg_write(UART_INT_ENA, INT_RX);
}

// The requests are cleared first: a byte that comes later makes another. An overflow has filled the
// FIFO, which is read as it is.
SPK_RAMFUNC void spk_uart_receive(void) {
    const uint32_t seen = reg_read(UART_INT_RAW);

    reg_write(UART_INT_CLR, seen & (INT_RX | INT_FRM_ERR | INT_PARITY_ERR));
    if (seen & INT_RXFIFO_OVF) {
        spk_uart_line.overruns++;
    }
    if (seen & (INT_FRM_ERR | INT_PARITY_ERR)) {
        spk_uart_line.garbled++;
    }
    while (reg_read(UART_STATUS) & STATUS_RXFIFO_CNT) {
        spk_uart_received((uint8_t)reg_read(UART_FIFO));
    }
}

int spk_uart_accepts(void) {
    return (reg_read(UART_STATUS) >> STATUS_TXFIFO_CNT & 0x3FF) < TX_BYTES;
}

void spk_uart_send(uint8_t byte) {
    reg_write(UART_FIFO, byte);
}

int spk_uart_has_sent(void) {
    return !(reg_read(UART_STATUS) >> STATUS_TXFIFO_CNT & 0x3FF) &&
           !(reg_read(UART_FSM_STATUS) & FSM_UTX_OUT);
}

// The clock's cycles a bit, in 16ths.
uint32_t spk_uart_divisor(uint32_t baud) {
    const uint32_t parts = baud ? (SPK_UART_HZ * 16u + baud / 2) / baud : 0;

    return parts >= 3 * 16 && parts < 0x1000 * 16 ? parts : 0;
}

uint32_t spk_uart_rate(uint32_t divisor) {
    return divisor ? SPK_UART_HZ * 16u / divisor : 0;
}

void spk_uart_divide(uint32_t divisor) {
    reg_write(UART_CLKDIV, divisor / 16 | divisor % 16 << CLKDIV_FRAG);
}
