// What a board remembers over a reset, in RAM that no startup clears.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_KEPT_H
#define SPK_KEPT_H

#include "spk_board.h"

// rv32.S writes cause and fault by offset.
struct spk_kept {
    uint32_t magic;
    uint32_t boots;
    uint32_t cause; // enum spk_reset_cause of the reset that is coming
    struct spk_fault fault;
};

extern struct spk_kept spk_board_kept;

enum { SPK_STACK_PAINT = 0x5A5A5A5A }; // startup fills the stack with it; rv32.S holds the same

extern uint32_t __stack_bottom[];
extern uint32_t __stack_top[];

// Called first in spk_board_init(): counts the boot and takes the cause of the reset.
void spk_kept_begin(void);

// The part says that its watchdog has reset it; where the core was is not known.
void spk_kept_watchdog(void);

#endif
