// Arm's CMSDK watchdog (DDI 0479, 4.6), whose interrupt is the NMI: a core that serves one request
// for longer than SPK_WATCHDOG_MS is reset, and the host is told where it was. SPK_WATCHDOG_BASE;
// SPK_WATCHDOG_HZ is its clock. An idle core is woken by SysTick, and feeds it.
// SPK_WATCHDOG_BASE = 0: the board has none. SPDX-License-Identifier: Apache-2.0
#if SPK_WATCHDOG_BASE

#include "arm_m.h"
#include "kept.h"

enum {
    WDOGLOAD = SPK_WATCHDOG_BASE + 0x000,
    WDOGCONTROL = SPK_WATCHDOG_BASE + 0x008,
    WDOGINTCLR = SPK_WATCHDOG_BASE + 0x00C,
    CONTROL_ON = 1 << 0 | 1 << 1, // the interrupt; a reset where nobody has cleared it in as long
    FRAME_PC = 6,                 // word of the exception's stack frame
};

_Static_assert(SPK_WATCHDOG_MS >= ((1 << 24) / (SPK_CORE_HZ / 1000)) + 1, "longer than SysTick's");
_Static_assert((uint64_t)SPK_WATCHDOG_MS *(SPK_WATCHDOG_HZ / 1000) <= UINT32_MAX, "32 bits");

_Noreturn void spk_watchdog_record(const uint32_t *frame);

void spk_board_alive(void) {
    if (reg_read(WDOGCONTROL) == 0) {
        reg_write(WDOGLOAD, SPK_WATCHDOG_MS * (SPK_WATCHDOG_HZ / 1000u));
        reg_write(WDOGCONTROL, CONTROL_ON);
    }
    reg_write(WDOGINTCLR, 1); // counts from WDOGLOAD again
}

__attribute__((naked)) void spk_arm_nmi(void) {
    __asm__ volatile(".syntax unified\n"
                     "mrs r0, msp\n"
                     "ldr r1, =spk_watchdog_record\n"
                     "bx r1\n"
                     ".ltorg\n");
}

_Noreturn void spk_watchdog_record(const uint32_t *frame) {
    spk_board_kept.fault = (struct spk_fault){0, frame[FRAME_PC], 0};
    spk_arm_reset(SPK_RESET_WATCHDOG);
}

#else
typedef int spk_watchdog_is_for_boards_that_have_one; // a file may not be empty
#endif
