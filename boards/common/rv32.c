// RV32 boards: ticks and a requested reset.
// SPDX-License-Identifier: Apache-2.0
#include "rv32.h"

uint32_t spk_board_ticks(void) {
    uint32_t ticks;
    __asm__ volatile("csrr %0, minstret" : "=r"(ticks));
    return ticks;
}

_Noreturn void spk_board_reset(void) {
    spk_board_kept.cause = SPK_RESET_REQUEST;
    spk_rv32_reset();
}
