// The USART of STM32L4+, H7 and their generation with its FIFOs on (RM0432, 48.8; RM0433, 48.8),
// and their LPUART (SPK_UART_LP): 8 bytes each way on L4+, 16 on H7. SPK_UART_BASE; SPK_UART_HZ is
// its kernel clock. SPDX-License-Identifier: Apache-2.0
#include "uart.h"

enum {
    USART_CR1 = SPK_UART_BASE + 0x00,
    USART_CR2 = SPK_UART_BASE + 0x04,
    USART_CR3 = SPK_UART_BASE + 0x08,
    USART_BRR = SPK_UART_BASE + 0x0C,
    USART_ISR = SPK_UART_BASE + 0x1C,
    USART_ICR = SPK_UART_BASE + 0x20,
    USART_RDR = SPK_UART_BASE + 0x24,
    USART_TDR = SPK_UART_BASE + 0x28,
    CR1_UE = 1 << 0,
    CR1_RE = 1 << 2,
    CR1_TE = 1 << 3,
    CR1_RXFNEIE = 1 << 5, // a byte is there, or one was lost
    CR1_FIFOEN = 1 << 29,
    ISR_PE = 1 << 0,
    ISR_FE = 1 << 1,
    ISR_NE = 1 << 2,
    ISR_ORE = 1 << 3,
    ISR_RXFNE = 1 << 5,
    ISR_TC = 1 << 6,
    ISR_TXFNF = 1 << 7,
#if SPK_UART_LP
    PARTS = 256, // of a cycle in USART_BRR
    BRR_LEAST = 0x300,
    BRR_MOST = 0xFFFFF,
#else
    PARTS = 1,
    BRR_LEAST = 16,
    BRR_MOST = 0xFFFF,
#endif
};

void spk_uart_open(void) {
    reg_write(USART_CR1, 0);
    reg_write(USART_CR2, 0); // one stop bit
    reg_write(USART_CR3, 0);
    spk_uart_divide(spk_uart_divisor(SPK_BAUD));
    reg_write(USART_CR1, CR1_FIFOEN | CR1_RXFNEIE | CR1_TE | CR1_RE | CR1_UE);
}

SPK_RAMFUNC void spk_uart_receive(void) {
    uint32_t state;

    while ((state = reg_read(USART_ISR)) & (ISR_RXFNE | ISR_ORE | ISR_FE | ISR_PE)) {
        reg_write(USART_ICR, state & (ISR_PE | ISR_FE | ISR_NE | ISR_ORE)); // the same bits
        if (state & ISR_ORE) {
            spk_uart_line.overruns++;
        }
        if (state & (ISR_PE | ISR_FE)) {
            spk_uart_line.garbled++;
        }
        if (state & ISR_RXFNE) {
            spk_uart_received((uint8_t)reg_read(USART_RDR));
        }
    }
}

int spk_uart_accepts(void) {
    return (reg_read(USART_ISR) & ISR_TXFNF) != 0;
}

void spk_uart_send(uint8_t byte) {
    reg_write(USART_TDR, byte);
}

int spk_uart_has_sent(void) {
    return (reg_read(USART_ISR) & ISR_TC) != 0;
}

// The clock's cycles a bit, of an LPUART 256ths of them.
uint32_t spk_uart_divisor(uint32_t baud) {
    const uint64_t parts = baud ? ((uint64_t)SPK_UART_HZ * PARTS + baud / 2) / baud : 0;

    return parts >= BRR_LEAST && parts <= BRR_MOST ? (uint32_t)parts : 0;
}

uint32_t spk_uart_rate(uint32_t divisor) {
    return divisor ? (uint32_t)((uint64_t)SPK_UART_HZ * PARTS / divisor) : 0;
}

// It may be set only while the USART is off.
void spk_uart_divide(uint32_t divisor) {
    const uint32_t on = reg_read(USART_CR1);

    reg_write(USART_CR1, on & ~(uint32_t)CR1_UE);
    reg_write(USART_BRR, divisor);
    reg_write(USART_CR1, on);
}
