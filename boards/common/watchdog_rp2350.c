// RP2350's watchdog (datasheet, 12.9), a count of ticks that its own generator (8.5) makes of
// clk_ref, the crystal. It stands still while a debugger holds a core.
// SPDX-License-Identifier: Apache-2.0
#include "watchdog.h"

#if SPK_WATCHDOG_BASE

enum {
    WATCHDOG_CTRL = SPK_WATCHDOG_BASE + 0x0,
    WATCHDOG_LOAD = SPK_WATCHDOG_BASE + 0x4,
    WATCHDOG_REASON = SPK_WATCHDOG_BASE + 0x8,
    CTRL_ENABLE = 1 << 30,
    CTRL_PAUSES = 7 << 24, // PAUSE_DBG1, PAUSE_DBG0, PAUSE_JTAG
    REASON_TIMER = 1 << 0,
    TICKS_WATCHDOG_CTRL = 0x40108030,
    TICKS_WATCHDOG_CYCLES = 0x40108034,
    TICK_2_US = SPK_WATCHDOG_HZ / 500000, // LOAD's 24 bits are 33.5 s
    PSM_WDSEL = 0x40018008,
    WDSEL_ALL_BUT_COLD = 0x1FFFFFE, // as rp2350.c resets
};
_Static_assert(SPK_WATCHDOG_MS * 500u <= 0xFFFFFF, "24 bits of 2 us");
_Static_assert(TICK_2_US <= 0x1FF, "9 bits");
#ifdef __arm__
_Static_assert(SPK_WATCHDOG_MS > (1 << 24) / (SPK_CORE_HZ / 1000), "SysTick wakes an idle core");
#else
_Static_assert(SPK_WATCHDOG_MS > SPK_MTIME_WAKE_MS, "mtime wakes an idle core");
#endif

void spk_watchdog_begin(void) {
    if (reg_read(WATCHDOG_REASON) & REASON_TIMER) {
        spk_kept_watchdog();
    }
}

void spk_board_alive(void) {
    reg_write(WATCHDOG_LOAD, SPK_WATCHDOG_MS * 500u);
    if (!(reg_read(WATCHDOG_CTRL) & CTRL_ENABLE)) {
        reg_write(TICKS_WATCHDOG_CYCLES, TICK_2_US);
        reg_write(TICKS_WATCHDOG_CTRL, 1); // ENABLE
        reg_write(PSM_WDSEL, WDSEL_ALL_BUT_COLD);
        reg_write(WATCHDOG_CTRL, CTRL_ENABLE | CTRL_PAUSES);
    }
}

#endif
