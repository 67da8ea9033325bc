// RISC-V's platform interrupt controller (its specification 1.0; FE310-G002 manual, "Platform-Level
// Interrupt Controller"), with the UART as its one source of interrupts.
// SPDX-License-Identifier: Apache-2.0
#include "plic.h"
#include "rv32.h"
#include "uart.h"

enum {
    PLIC_PRIORITY = 0x0C000000,
    PLIC_ENABLE = 0x0C002000, // 32 sources a word
    PLIC_THRESHOLD = 0x0C200000,
    PLIC_CLAIM = 0x0C200004,
};

void spk_plic_start(void) {
    reg_write(PLIC_PRIORITY + 4 * SPK_UART_IRQ, 1);
    reg_write(PLIC_ENABLE, 1u << SPK_UART_IRQ);
    reg_write(PLIC_ENABLE + 4, 0); // whatever a boot loader has left
    reg_write(PLIC_THRESHOLD, 0);
    spk_rv32_listen(MIE_EXTERNAL);
}

SPK_RAMFUNC void spk_rv32_interrupt(void) {
    const uint32_t source = reg_read(PLIC_CLAIM);

    spk_uart_receive();
    reg_write(PLIC_CLAIM, source);
}
