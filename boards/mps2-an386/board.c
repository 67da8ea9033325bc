// MPS2 with a Cortex-M4F. SPDX-License-Identifier: Apache-2.0
#include "mps.h"

const struct spk_board_info spk_board_info = {
    .isa = SPK_ISA, .tick_unit = SPK_TICK_CYCLE, .tick_hz = 25000000};

const struct spk_mps spk_mps = {.uart = 0x40004000, .uart_irq = 0, .id = "an386"};
