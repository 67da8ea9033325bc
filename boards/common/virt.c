// QEMU's `virt` machine and the emulator that stands in for it, with any RV32 core: 16550 serial
// port, test finisher as reset line, minstret as tick.
// SPDX-License-Identifier: Apache-2.0
#include "virt.h"

enum {
    UART_BASE = 0x10000000,
    UART_FIFO_BYTES = 16,
    UART_IRQ = 10,
    LSR_DATA_READY = 0x01,
    LSR_TX_EMPTY = 0x20,
    PLIC_PRIORITY = 0x0C000000,
    PLIC_ENABLE = 0x0C002000,
    PLIC_CLAIM = 0x0C200004,
    FINISHER = 0x100000,
    FINISHER_RESET = 0x7777,
    MIE_EXTERNAL = 1 << 11,
};

struct uart {
    volatile uint8_t data; // receive and transmit; divisor low while the latch is open
    volatile uint8_t ier;  // divisor high while the latch is open
    volatile uint8_t fcr;
    volatile uint8_t lcr;
    volatile uint8_t mcr;
    volatile uint8_t lsr;
};

static struct uart *uart(void) {
    return (struct uart *)UART_BASE;
}

void spk_board_init(void) {
    spk_kept_begin();

    // 8N1, the fastest divisor, FIFO on, receive interrupt at 14 bytes or after a pause: it is
    // never taken, it only ends the sleep of spk_board_idle().
    uart()->lcr = 0x83;
    uart()->data = 1;
    uart()->ier = 0;
    uart()->lcr = 0x03;
    uart()->fcr = 0xC7;
    uart()->ier = 0x01;
    reg_write(PLIC_PRIORITY + 4 * UART_IRQ, 1);
    reg_write(PLIC_ENABLE, 1u << UART_IRQ);
    __asm__ volatile("csrw mie, %0" ::"r"(MIE_EXTERNAL));
}

uint32_t spk_board_rx(uint8_t *buffer, uint32_t size) {
    uint32_t n = 0;
    while (n < size && (uart()->lsr & LSR_DATA_READY)) {
        buffer[n++] = uart()->data;
    }
    return n;
}

void spk_board_tx(const uint8_t *buffer, uint32_t size) {
    while (size > 0) {
        while (!(uart()->lsr & LSR_TX_EMPTY)) {
        }
        uint32_t burst = size < UART_FIFO_BYTES ? size : UART_FIFO_BYTES;
        size -= burst;
        while (burst-- > 0) {
            uart()->data = *buffer++;
        }
    }
}

void spk_board_idle(void) {
    if (uart()->lsr & LSR_DATA_READY) {
        return;
    }
    __asm__ volatile("wfi");
    volatile uint32_t *claim = (volatile uint32_t *)PLIC_CLAIM;
    *claim = *claim; // claim and complete, so that the next wfi sleeps again
}

void spk_board_unique_id(uint8_t id[8]) {
    for (uint32_t i = 0; i < sizeof spk_virt_id; i++) {
        id[i] = spk_virt_id[i];
    }
}

_Noreturn void spk_rv32_reset(void) {
    reg_write(FINISHER, FINISHER_RESET);
    for (;;) {
    }
}
