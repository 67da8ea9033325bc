// nRF52840-DK: nRF52840 at 64 MHz of its 32 MHz crystal. Registers as the product specification 1.7
// (5.4 CLOCK, 4.3 NVMC) and Nordic's nrf52840.h name them; the UART without DMA is the one that
// QEMU has. SPDX-License-Identifier: Apache-2.0
#include "arm_m.h"
#include "kept.h"
#include "uart.h"
#include "watchdog.h"

enum {
    CLOCK_HFCLKSTART = 0x40000000,   // TASKS_
    CLOCK_HFCLKSTARTED = 0x40000100, // EVENTS_
    NVMC_ICACHECNF = 0x4001E540,
    ICACHECNF_ON = 1,
};

const struct spk_board_info spk_board_info = {
    .isa = SPK_ISA, .tick_unit = SPK_TICK_CYCLE, .tick_hz = SPK_CORE_HZ};

// The core runs at 64 MHz from reset on; with the crystal its rate is right. Flash has no wait
// states to set, but a cache.
void spk_board_init(void) {
    spk_kept_begin();
    spk_watchdog_begin();
    reg_write(CLOCK_HFCLKSTART, 1);
    reg_await(CLOCK_HFCLKSTARTED, 1, 1);
    reg_write(NVMC_ICACHECNF, ICACHECNF_ON);
    spk_systick_start();
    spk_uart_start();
    spk_arm_listen();
}
