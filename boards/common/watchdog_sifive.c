// The watchdog of SiFive's AON block (FE310-G002 manual, "Watchdog Timer"): a count of lfclk, of
// which bits from wdogscale on are compared. Each write wants its key. It counts on while a
// debugger holds the core. SPDX-License-Identifier: Apache-2.0
#include "watchdog.h"

#if SPK_WATCHDOG_BASE

enum {
    AON_WDOGCFG = SPK_WATCHDOG_BASE + 0x00,
    AON_WDOGFEED = SPK_WATCHDOG_BASE + 0x18,
    AON_WDOGKEY = SPK_WATCHDOG_BASE + 0x1C,
    AON_WDOGCMP = SPK_WATCHDOG_BASE + 0x20,
    AON_PMUCAUSE = SPK_WATCHDOG_BASE + 0x144,
    KEY = 0x51F15E,
    FEED = 0xD09F00D,
    CFG_SCALE = 5, // 32 cycles: 16 bits are 64 s
    CFG_RSTEN = 1 << 8,
    CFG_ENALWAYS = 1 << 12,
    COUNTS = SPK_WATCHDOG_MS * (SPK_WATCHDOG_HZ >> CFG_SCALE) / 1000,
    CAUSE_RESET = 3 << 8,
    CAUSE_WATCHDOG = 2 << 8,
};
_Static_assert(COUNTS <= 0xFFFF, "16 bits");
_Static_assert(SPK_WATCHDOG_MS > SPK_MTIME_WAKE_MS, "mtime wakes an idle core");

static void keyed(uint32_t address, uint32_t value) {
    reg_write(AON_WDOGKEY, KEY); // opens one write
    reg_write(address, value);
}

// Off, whatever a boot loader has done; spk_board_alive() starts it.
void spk_watchdog_begin(void) {
    keyed(AON_WDOGCFG, 0);
    if ((reg_read(AON_PMUCAUSE) & CAUSE_RESET) == CAUSE_WATCHDOG) {
        spk_kept_watchdog();
    }
}

void spk_board_alive(void) {
    static uint8_t started;

    keyed(AON_WDOGFEED, FEED);
    if (!started) {
        keyed(AON_WDOGCMP, COUNTS);
        keyed(AON_WDOGCFG, CFG_SCALE | CFG_RSTEN | CFG_ENALWAYS);
        started = 1;
    }
}

#endif
