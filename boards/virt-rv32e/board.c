// RV32EC on QEMU's `virt` machine. SPDX-License-Identifier: Apache-2.0
#include "virt.h"

const struct spk_board_info spk_board_info = {
    .isa = SPK_ISA, .tick_unit = SPK_TICK_INSTRUCTION, .tick_hz = 0};

const uint8_t spk_virt_id[8] = {'v', 'i', 'r', 't', '3', '2', 'e', '_'};
