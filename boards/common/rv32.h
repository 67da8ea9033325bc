// What the RV32 boards share.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_RV32_H
#define SPK_RV32_H

#include "core.h"
#include "kept.h"

// Given by the board: starts the image anew, .noinit as it is. rv32.S ends a fault with it.
_Noreturn void spk_rv32_reset(void);

// Given by the board: takes the interrupt that is asked for. rv32.S calls it.
void spk_rv32_interrupt(void);

static inline void spk_rv32_listen(uint32_t interrupts) { // bits of mie
    __asm__ volatile("csrw mie, %0" ::"r"(interrupts));
    irq_on();
}

#endif
