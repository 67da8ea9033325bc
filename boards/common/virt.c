// QEMU's `virt` machine and the emulator that stands in for it, with any RV32 core: 16550 serial
// port, test finisher as reset line, minstret as tick.
// SPDX-License-Identifier: Apache-2.0
#include "virt.h"
#include "plic.h"
#include "uart.h"

enum {
    FINISHER = 0x100000,
    FINISHER_RESET = 0x7777,
};

void spk_board_init(void) {
    spk_kept_begin();
    spk_uart_start();
    spk_plic_start();
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
