// SiFive E, as in the FE310: its UART with 8 bytes each way, minstret as tick. The chip as QEMU has
// it cannot reset itself: a reset here is a jump to the start, which leaves devices as they are.
// SPDX-License-Identifier: Apache-2.0
#include "rv32.h"
#include "plic.h"
#include "uart.h"

enum {
    GPIO_IOF_EN = 0x10012038,
    GPIO_UART0 = 3 << 16,
};

const struct spk_board_info spk_board_info = {
    .isa = SPK_ISA, .tick_unit = SPK_TICK_INSTRUCTION, .tick_hz = 0};

void spk_board_init(void) {
    spk_kept_begin();
    reg_write(GPIO_IOF_EN, GPIO_UART0);
    spk_uart_start();
    spk_plic_start();
}

void spk_board_unique_id(uint8_t id[8]) {
    static const uint8_t name[8] = {'s', 'i', 'f', 'i', 'v', 'e', '-', 'e'};
    for (uint32_t i = 0; i < sizeof name; i++) {
        id[i] = name[i];
    }
}

_Noreturn void spk_rv32_reset(void) {
    __asm__ volatile("tail _start");
    __builtin_unreachable();
}
