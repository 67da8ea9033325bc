// QEMU's `virt` machine and the emulator that stands in for it, with any RV32 core: 16550 serial
// port, test finisher as reset line, minstret as tick.
// SPDX-License-Identifier: Apache-2.0
#include "virt.h"
#include "uart.h"

enum {
    PLIC_PRIORITY = 0x0C000000,
    PLIC_ENABLE = 0x0C002000,
    PLIC_CLAIM = 0x0C200004,
    FINISHER = 0x100000,
    FINISHER_RESET = 0x7777,
};

void spk_board_init(void) {
    spk_kept_begin();
    spk_uart_start();
    reg_write(PLIC_PRIORITY + 4 * SPK_UART_IRQ, 1);
    reg_write(PLIC_ENABLE, 1u << SPK_UART_IRQ);
    spk_rv32_listen(MIE_EXTERNAL);
}

void spk_rv32_interrupt(void) {
    const uint32_t source = reg_read(PLIC_CLAIM);

    spk_uart_receive();
    reg_write(PLIC_CLAIM, source);
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
