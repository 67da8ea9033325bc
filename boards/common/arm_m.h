// What the boards with a Cortex-M core share: registers of the core, and the start of its clock.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_ARM_M_H
#define SPK_ARM_M_H

#include <stdint.h>

#define SPK_SCS 0xE000E000u // system control space; registers of the core are offsets in it

static inline uint32_t reg_read(uint32_t address) {
    return *(volatile uint32_t *)address;
}

static inline void reg_write(uint32_t address, uint32_t value) {
    *(volatile uint32_t *)address = value;
}

// systick.c: spk_board_ticks() counts cycles of the core's clock from here on.
void spk_systick_start(void);

// Sleeps until the device raises interrupt `irq`, which is never taken: it only ends the sleep.
// The caller has cleared the device's old request and looked once more whether there is work.
void spk_arm_sleep(uint32_t irq);
void spk_arm_forget(uint32_t irq); // drops a pending request of `irq`

#endif
