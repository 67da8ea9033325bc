// Arm's MPS2 and MPS3 boards: which CMSDK UART carries the link. mps.c has the rest.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_MPS_H
#define SPK_MPS_H

#include "spk_board.h"

struct spk_mps {
    uint32_t uart;     // base address
    uint32_t uart_irq; // of its receiver
    uint8_t id[8];     // these boards have no number of their own
};

extern const struct spk_mps spk_mps;

#endif
