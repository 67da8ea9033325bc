// The ESP32-C3's watchdog of timer group 0 (technical reference manual 1.1, chapter Watchdog
// Timers; soc/timer_group_reg.h). Stage 0 is an interrupt, which wakes an idle core and keeps the
// pc of one that hangs; stage 1 resets the part where nobody has served that in as long.
// SPK_WATCHDOG_BASE; SPK_WATCHDOG_HZ is the crystal's rate. SPDX-License-Identifier: Apache-2.0
#include "rv32.h"
#include "watchdog.h"

#if SPK_WATCHDOG_BASE

enum {
    TIMG_WDTCONFIG0 = SPK_WATCHDOG_BASE + 0x48,
    TIMG_WDTCONFIG1 = SPK_WATCHDOG_BASE + 0x4C, // prescaler
    TIMG_WDTCONFIG2 = SPK_WATCHDOG_BASE + 0x50, // counts of stage 0
    TIMG_WDTCONFIG3 = SPK_WATCHDOG_BASE + 0x54, // of stage 1
    TIMG_WDTFEED = SPK_WATCHDOG_BASE + 0x60,
    TIMG_WDTWPROTECT = SPK_WATCHDOG_BASE + 0x64,
    TIMG_INT_ENA_TIMERS = SPK_WATCHDOG_BASE + 0x70,
    TIMG_INT_ST_TIMERS = SPK_WATCHDOG_BASE + 0x78,
    TIMG_INT_CLR_TIMERS = SPK_WATCHDOG_BASE + 0x7C,
    INT_WDT = 1 << 1,
    STG0_INTERRUPT = 1 << 29,
    STG1_RESET_SYSTEM = 3 << 27,
    CONF_UPDATE_EN = 1 << 22, // what is written counts from here on
    USE_XTAL = 1 << 21,
    RESET_LENGTHS = 7 << 18 | 7 << 15, // CPU_RESET_LENGTH, SYS_RESET_LENGTH: 3.2 us
    PRESCALE_1_MS = SPK_WATCHDOG_HZ / 1000,
    RTC_CNTL_RESET_STATE = 0x60008038,
    RESET_CAUSE = 0x3F,
    CAUSE_TG0WDT_SYS = 7,
    INTERRUPT_TG_WDT_INT_MAP = 0x600C2084, // INTERRUPT_CORE0_...
    INTERRUPT_CPU_INT_ENABLE = 0x600C2104,
    INTERRUPT_CPU_INT_TYPE = 0x600C2108,
    INTERRUPT_CPU_INT_PRI_0 = 0x600C2114,
};
_Static_assert(PRESCALE_1_MS <= 0xFFFF, "16 bits");

static const uint32_t key = 0x50D83AA1, enable = 1u << 31;

void spk_watchdog_begin(void) {
    if ((reg_read(RTC_CNTL_RESET_STATE) & RESET_CAUSE) == CAUSE_TG0WDT_SYS) {
        spk_kept_watchdog();
    }
}

// Fed first: it would go on from what it has counted for the boot ROM.
static void start(void) {
    reg_write(TIMG_WDTFEED, 1);
    reg_write(TIMG_WDTCONFIG1, (uint32_t)PRESCALE_1_MS << 16);
    reg_write(TIMG_WDTCONFIG2, SPK_WATCHDOG_MS);
    reg_write(TIMG_WDTCONFIG3, SPK_WATCHDOG_MS);
    reg_write(TIMG_WDTCONFIG0, enable | STG0_INTERRUPT | STG1_RESET_SYSTEM | CONF_UPDATE_EN |
                                   USE_XTAL | RESET_LENGTHS);
    reg_write(TIMG_INT_ENA_TIMERS, INT_WDT);
    reg_write(INTERRUPT_TG_WDT_INT_MAP, SPK_WATCHDOG_IRQ);
    reg_clear(INTERRUPT_CPU_INT_TYPE, 1u << SPK_WATCHDOG_IRQ); // by level
    reg_write(INTERRUPT_CPU_INT_PRI_0 + 4 * SPK_WATCHDOG_IRQ, 1);
    reg_set(INTERRUPT_CPU_INT_ENABLE, 1u << SPK_WATCHDOG_IRQ);
}

void spk_board_alive(void) {
    static uint8_t started;

    reg_write(TIMG_WDTWPROTECT, key);
    if (!started) {
        start();
        started = 1;
    }
    reg_write(TIMG_WDTFEED, 1); // stage 0, from its beginning
    reg_write(TIMG_WDTWPROTECT, 0);
    reg_write(TIMG_INT_CLR_TIMERS, INT_WDT);
}

void spk_watchdog_interrupt(void) {
    uint32_t pc;

    if (reg_read(TIMG_INT_ST_TIMERS) & INT_WDT) {
        __asm__ volatile("csrr %0, mepc" : "=r"(pc));
        spk_board_kept.fault = (struct spk_fault){0, pc, 0};
        spk_board_kept.cause = SPK_RESET_WATCHDOG;
        spk_rv32_reset();
    }
}

#endif
