// What the boards with a Cortex-M core share: registers of the core, and the start of its clock.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_ARM_M_H
#define SPK_ARM_M_H

#include "core.h"
#include "spk_board.h"

#define SPK_SCS 0xE000E000u // system control space; registers of the core are offsets in it

// systick.c: spk_core_ticks() counts cycles of the core's clock from here on.
void spk_systick_start(void);

// The UART's interrupt, SPK_UART_IRQ, is taken from here on; SysTick's comes before it.
void spk_arm_listen(void);

// Given by a board whose flash tells a word that it cannot correct that way; weak, it is a fault.
void spk_arm_nmi(void);

_Noreturn void spk_arm_reset(enum spk_reset_cause cause); // the next boot says that this was why

void spk_arm_before_reset(void); // given by a core that has something to do then

// arm_m7.c: both caches, whose contents a reset leaves undefined.
void spk_arm_caches_on(void);

#endif
