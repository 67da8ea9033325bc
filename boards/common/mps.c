// Arm's MPS2 and MPS3 boards: the link on a CMSDK UART, which holds one byte each way.
// SPDX-License-Identifier: Apache-2.0
#include "mps.h"
#include "arm_m.h"
#include "kept.h"

// Offsets of the UART's registers, and their bits.
enum {
    DATA = 0x00,
    STATE = 0x04,
    CTRL = 0x08,
    INT_CLEAR = 0x0C,
    BAUDDIV = 0x10,
    STATE_TX_FULL = 1,
    STATE_RX_FULL = 2,
    CTRL_TX = 1,
    CTRL_RX = 2,
    CTRL_RX_IRQ = 8,
    INT_RX = 2,
    FASTEST = 16,
};

void spk_board_init(void) {
    spk_kept_begin();
    spk_systick_start();
    reg_write(spk_mps.uart + BAUDDIV, FASTEST);
    reg_write(spk_mps.uart + CTRL, CTRL_TX | CTRL_RX | CTRL_RX_IRQ);
}

uint32_t spk_board_rx(uint8_t *buffer, uint32_t size) {
    uint32_t n = 0;
    while (n < size && (reg_read(spk_mps.uart + STATE) & STATE_RX_FULL)) {
        buffer[n++] = (uint8_t)reg_read(spk_mps.uart + DATA);
    }
    return n;
}

void spk_board_tx(const uint8_t *buffer, uint32_t size) {
    while (size-- > 0) {
        while (reg_read(spk_mps.uart + STATE) & STATE_TX_FULL) {
        }
        reg_write(spk_mps.uart + DATA, *buffer++);
    }
}

void spk_board_idle(void) {
    reg_write(spk_mps.uart + INT_CLEAR, INT_RX);
    spk_arm_forget(spk_mps.uart_irq);
    if (!(reg_read(spk_mps.uart + STATE) & STATE_RX_FULL)) {
        spk_arm_sleep(spk_mps.uart_irq);
    }
}

void spk_board_unique_id(uint8_t id[8]) {
    for (uint32_t i = 0; i < sizeof spk_mps.id; i++) {
        id[i] = spk_mps.id[i];
    }
}
