// MPS3 with a Cortex-M55. SPDX-License-Identifier: Apache-2.0
#include "mps.h"

const struct spk_board_info spk_board_info = {
    .isa = SPK_ISA, .tick_unit = SPK_TICK_CYCLE, .tick_hz = 32000000};

const struct spk_mps spk_mps = {.uart = 0x59303000, .uart_irq = 33, .id = "an547"};
