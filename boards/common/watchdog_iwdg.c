// The independent watchdog of STM32 (RM0432 and RM0433, chapter IWDG), which GD32VF103 (FWDGT_CTL,
// PSC, RLD, STAT) and CH32V203 (IWDG_CTLR, PSCR, RLDR, STATR) took over. It counts an oscillator of
// its own, and once started only a reset stops it. SPK_WATCHDOG_BASE; SPK_WATCHDOG_FLAGS is the
// register of reset flags, with the bit that tells it and the one that clears all;
// SPK_WATCHDOG_HALT, where there is one, stops it while a debugger holds the core.
// SPDX-License-Identifier: Apache-2.0
#include "watchdog.h"

#if SPK_WATCHDOG_BASE

enum {
    IWDG_KR = SPK_WATCHDOG_BASE + 0x00,
    IWDG_PR = SPK_WATCHDOG_BASE + 0x04,
    IWDG_RLR = SPK_WATCHDOG_BASE + 0x08,
    KR_FEED = 0xAAAA,
    KR_OPEN = 0x5555, // for PR and RLR
    KR_START = 0xCCCC,
    PR_256 = 6,
    RELOAD = SPK_WATCHDOG_MS * (SPK_WATCHDOG_HZ / 1000) / 256 - 1,
};

_Static_assert(RELOAD > 0 && RELOAD <= 0xFFF, "12 bits of a 256th of its clock");
#ifdef __arm__
_Static_assert(SPK_WATCHDOG_MS > (1 << 24) / (SPK_CORE_HZ / 1000), "SysTick wakes an idle core");
#elif !defined(SPK_NO_SLEEP)
#error "nothing wakes an idle core to feed the watchdog"
#endif

void spk_watchdog_begin(void) {
    if (reg_read(SPK_WATCHDOG_FLAGS) & SPK_WATCHDOG_FLAG) {
        spk_kept_watchdog();
    }
    reg_set(SPK_WATCHDOG_FLAGS, SPK_WATCHDOG_FLAGS_CLEAR);
}

// Values are taken over a few cycles of its clock after they are written: the next feed loads them,
// and until then it counts down from 4095.
static void start(void) {
#ifdef SPK_WATCHDOG_HALT
    reg_set(SPK_WATCHDOG_HALT, SPK_WATCHDOG_HALT_BIT);
#endif
    reg_write(IWDG_KR, KR_START);
    reg_write(IWDG_KR, KR_OPEN);
    reg_write(IWDG_PR, PR_256);
    reg_write(IWDG_RLR, RELOAD);
}

void spk_board_alive(void) {
    static uint8_t started;

    if (!started) {
        start();
        started = 1;
    }
    reg_write(IWDG_KR, KR_FEED);
}

#endif
