// RV32 boards: a requested reset. SPDX-License-Identifier: Apache-2.0
#include "rv32.h"

_Noreturn void spk_board_reset(void) {
    spk_board_kept.cause = SPK_RESET_REQUEST;
    spk_rv32_reset();
}
