// BBC micro:bit: nRF51822 with a Cortex-M0. The link on the UART, which holds six bytes; ticks of
// 16 MHz, the core's clock, from TIMER0: the chip has no SysTick. In QEMU a stack overflow is a
// fault like others; the chip's core locks up instead, which resets it without a record.
// SPDX-License-Identifier: Apache-2.0
#include "arm_m.h"
#include "kept.h"
#include "uart.h"
#include "watchdog.h"

enum {
    TIMER = 0x40008000,
    TIMER_START = TIMER + 0x000,
    TIMER_CLEAR = TIMER + 0x00C,
    TIMER_CAPTURE0 = TIMER + 0x040,
    TIMER_BITS = TIMER + 0x508,
    TIMER_PRESCALER = TIMER + 0x510,
    TIMER_CC0 = TIMER + 0x540,
    BITS_32 = 3,
    CLOCK_HFCLKSTART = 0x40000000,   // TASKS_
    CLOCK_HFCLKSTARTED = 0x40000100, // EVENTS_
};

const struct spk_board_info spk_board_info = {
    .isa = SPK_ISA, .tick_unit = SPK_TICK_CYCLE, .tick_hz = SPK_CORE_HZ};

static uint32_t passed; // ticks until the timer was cleared

void spk_board_init(void) {
    spk_kept_begin();
    spk_watchdog_begin();
    // 16 MHz of the crystal: its own oscillator is too far off for a UART.
    reg_write(CLOCK_HFCLKSTART, 1);
    reg_await(CLOCK_HFCLKSTARTED, 1, 1);
    reg_write(TIMER_BITS, BITS_32);
    reg_write(TIMER_PRESCALER, 0);
    reg_write(TIMER_START, 1);
    spk_uart_start();
    spk_arm_listen();
}

uint32_t spk_core_ticks(void) {
    reg_write(TIMER_CAPTURE0, 1);
    return passed + reg_read(TIMER_CC0);
}

void spk_board_ticks_begin(void) {
    irq_off();
    passed = spk_core_ticks();
    reg_write(TIMER_CLEAR, 1);
    irq_on();
}
