// MPS2 with a Cortex-M33. SPDX-License-Identifier: Apache-2.0
#include "mps.h"

const struct spk_board_info spk_board_info = {
    .isa = SPK_ISA, .tick_unit = SPK_TICK_CYCLE, .tick_hz = SPK_CORE_HZ};

const uint8_t spk_mps_id[8] = "an505";
