// Arm's MPS2 and MPS3 boards: the link on a CMSDK UART.
// SPDX-License-Identifier: Apache-2.0
#include "mps.h"
#include "arm_m.h"
#include "kept.h"
#include "uart.h"

void spk_board_init(void) {
    spk_kept_begin();
    spk_systick_start();
    spk_uart_start();
    spk_arm_listen();
}

void spk_board_unique_id(uint8_t id[8]) {
    for (uint32_t i = 0; i < sizeof spk_mps_id; i++) {
        id[i] = spk_mps_id[i];
    }
}
