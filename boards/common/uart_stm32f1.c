// The USART of STM32F1, F2 and F4 (RM0008, 27.6), and of the parts that took it over: GD32VF103,
// CH32V203. One byte is held beside the one that arrives. SPK_UART_BASE; SPK_UART_HZ is the clock
// of its bus. SPDX-License-Identifier: Apache-2.0
#include "uart.h"

enum {
    USART_SR = SPK_UART_BASE + 0x00,
    USART_DR = SPK_UART_BASE + 0x04,
    USART_BRR = SPK_UART_BASE + 0x08,
    USART_CR1 = SPK_UART_BASE + 0x0C,
    USART_CR2 = SPK_UART_BASE + 0x10,
    USART_CR3 = SPK_UART_BASE + 0x14,
    SR_PE = 1 << 0,
    SR_FE = 1 << 1,
    SR_ORE = 1 << 3,
    SR_RXNE = 1 << 5,
    SR_TC = 1 << 6,
    SR_TXE = 1 << 7,
    CR1_RE = 1 << 2,
    CR1_TE = 1 << 3,
    CR1_RXNEIE = 1 << 5, // an overrun asks, too
    CR1_UE = 1 << 13,
};

void spk_uart_open(void) {
    reg_write(USART_CR1, CR1_UE);
    reg_write(USART_CR2, 0); // one stop bit
    reg_write(USART_CR3, 0);
    spk_uart_divide(spk_uart_divisor(SPK_BAUD));
    reg_write(USART_CR1, CR1_UE | CR1_TE | CR1_RE | CR1_RXNEIE);
}

// Reading USART_SR and then USART_DR clears the errors. After an overrun DR holds the byte before.
SPK_RAMFUNC void spk_uart_receive(void) {
    uint32_t state;

    while ((state = reg_read(USART_SR)) & (SR_RXNE | SR_ORE | SR_FE | SR_PE)) {
        const uint8_t byte = (uint8_t)reg_read(USART_DR);
        if (state & SR_ORE) {
            spk_uart_line.overruns++;
        }
        if (state & (SR_FE | SR_PE)) {
            spk_uart_line.garbled++;
        }
        if (state & SR_RXNE) {
            spk_uart_received(byte);
        }
    }
}

int spk_uart_accepts(void) {
    return (reg_read(USART_SR) & SR_TXE) != 0;
}

void spk_uart_send(uint8_t byte) {
    reg_write(USART_DR, byte);
}

int spk_uart_has_sent(void) {
    return (reg_read(USART_SR) & SR_TC) != 0;
}

// USART_BRR is the bus clock's cycles a bit: 12 bits and 4 of fraction of 16 times the rate.
uint32_t spk_uart_divisor(uint32_t baud) {
    const uint32_t cycles = baud ? (SPK_UART_HZ + baud / 2) / baud : 0;

    return cycles >= 16 && cycles < 0x10000 ? cycles : 0;
}

uint32_t spk_uart_rate(uint32_t divisor) {
    return divisor ? SPK_UART_HZ / divisor : 0;
}

void spk_uart_divide(uint32_t divisor) {
    reg_write(USART_BRR, divisor);
}
