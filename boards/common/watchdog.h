// A part's watchdog. Its drivers (watchdog_*.c) give spk_board_alive(), which starts it when it is
// called first and feeds it from then on, and spk_watchdog_begin(). The agent calls the former
// between requests: a request that takes longer than SPK_WATCHDOG_MS, by a clock of
// SPK_WATCHDOG_HZ, is cut off by a reset, and the host is told why. SPK_WATCHDOG_BASE = 0: none is
// started. SPDX-License-Identifier: Apache-2.0
#ifndef SPK_WATCHDOG_H
#define SPK_WATCHDOG_H

#include "core.h"
#include "kept.h"

#if SPK_WATCHDOG_BASE

// Called behind spk_kept_begin(): where the part says that its watchdog has reset it, so does
// spk_board_reset_cause().
void spk_watchdog_begin(void);

// Of a watchdog that interrupts before it resets: does not return where it is what interrupts.
// SPK_WATCHDOG_WAKES has an idle core, which is woken by it, feed it at once (core.h).
void spk_watchdog_interrupt(void);

#else // a board whose models take longer than its watchdog can count

static inline void spk_watchdog_begin(void) {
}

static inline void spk_watchdog_interrupt(void) {
}

#endif

#endif
