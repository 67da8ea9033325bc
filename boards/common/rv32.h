// What the RV32 boards share.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_RV32_H
#define SPK_RV32_H

#include "kept.h"

static inline uint32_t reg_read(uint32_t address) {
    return *(volatile uint32_t *)address;
}

static inline void reg_write(uint32_t address, uint32_t value) {
    *(volatile uint32_t *)address = value;
}

// Given by the board: starts the image anew, .noinit as it is. rv32.S ends a fault with it.
_Noreturn void spk_rv32_reset(void);

#endif
