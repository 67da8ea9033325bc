// Nordic's watchdog (nRF51 reference manual 3.0, nRF52840 product specification 1.7, chapter WDT),
// which counts the low-frequency clock; without another it starts the RC oscillator itself. It
// stands still while the core sleeps and while a debugger holds it. Once started nothing but a
// reset stops it, and a requested reset does not: it counts on with what it was started with.
// SPDX-License-Identifier: Apache-2.0
#include "watchdog.h"

#if SPK_WATCHDOG_BASE

enum {
    WDT_START = SPK_WATCHDOG_BASE + 0x000, // TASKS_
    WDT_RUNSTATUS = SPK_WATCHDOG_BASE + 0x400,
    WDT_CRV = SPK_WATCHDOG_BASE + 0x504,
    WDT_RREN = SPK_WATCHDOG_BASE + 0x508,
    WDT_CONFIG = SPK_WATCHDOG_BASE + 0x50C,
    WDT_RR0 = SPK_WATCHDOG_BASE + 0x600,
    CONFIG_PAUSES = 0, // SLEEP, HALT
    RREN_RR0 = 1,
    RR_RELOAD = 0x6E524635,
    POWER_RESETREAS = 0x40000400,
    RESETREAS_DOG = 1 << 1,
};
_Static_assert((uint64_t)SPK_WATCHDOG_MS *SPK_WATCHDOG_HZ <= UINT32_MAX, "32 bits");

void spk_watchdog_begin(void) {
    if (reg_read(POWER_RESETREAS) & RESETREAS_DOG) {
        spk_kept_watchdog();
    }
    reg_write(POWER_RESETREAS, ~0u); // ones clear
}

void spk_board_alive(void) {
    if (!(reg_read(WDT_RUNSTATUS) & 1)) {
        reg_write(WDT_CONFIG, CONFIG_PAUSES);
        reg_write(WDT_CRV, (uint32_t)SPK_WATCHDOG_MS * SPK_WATCHDOG_HZ / 1000 - 1);
        reg_write(WDT_RREN, RREN_RR0);
        reg_write(WDT_START, 1);
    }
    reg_write(WDT_RR0, RR_RELOAD);
}

#endif
