// Caches of a Cortex-M7 (Arm DDI 0489). What a reset is to leave in RAM is written back before it.
// SPDX-License-Identifier: Apache-2.0
#include "arm_m.h"

enum {
    SCB_CCR = 0xD14,
    SCB_CCSIDR = 0xD80,
    SCB_CSSELR = 0xD84,
    SCB_ICIALLU = 0xF50,
    SCB_DCISW = 0xF60,  // invalidates a line of the data cache
    SCB_DCCISW = 0xF74, // writes it back first
    CCR_DC = 1 << 16,
    CCR_IC = 1 << 17,
};

// CCSIDR: sets less one in bits 13 to 27, ways less one (four) in 3 to 12; lines are of 32 bytes.
static void every_line(uint32_t operation) {
    reg_write(SPK_SCS + SCB_CSSELR, 0);
    __asm__ volatile("dsb" ::: "memory");
    const uint32_t size = reg_read(SPK_SCS + SCB_CCSIDR);
    const uint32_t sets = (size >> 13 & 0x7FFF) + 1, ways = (size >> 3 & 0x3FF) + 1;

    for (uint32_t set = 0; set < sets; set++) {
        for (uint32_t way = 0; way < ways; way++) {
            reg_write(SPK_SCS + operation, way << 30 | set << 5);
        }
    }
    __asm__ volatile("dsb\n isb" ::: "memory");
}

void spk_arm_caches_on(void) {
    reg_write(SPK_SCS + SCB_ICIALLU, 0);
    every_line(SCB_DCISW);
    reg_set(SPK_SCS + SCB_CCR, CCR_IC | CCR_DC);
    __asm__ volatile("dsb\n isb" ::: "memory");
}

void spk_arm_before_reset(void) {
    every_line(SCB_DCCISW);
}
