// HiFive1 rev B: FE310-G002 at 320 MHz of its 16 MHz crystal, executing from SPI flash; the link on
// UART0, GPIO 16 and 17, which lead to the J-Link's USB port. Registers as the FE310-G002 manual
// (v19p05: PRCI, GPIO, SPI, AON) names them. SPDX-License-Identifier: Apache-2.0
#include "plic.h"
#include "rv32.h"
#include "uart.h"
#include "watchdog.h"

enum {
    PRCI_HFXOSCCFG = 0x10008004,
    PRCI_PLLCFG = 0x10008008,
    PRCI_PLLOUTDIV = 0x1000800C,
    GPIO_IOF_EN = 0x10012038,
    GPIO_IOF_SEL = 0x1001203C,
    QSPI0_SCKDIV = 0x10014000,
    HFXOSC_ON = 1 << 30,
    PLL_320_MHZ = 1 | 39 << 4 | 1 << 10, // 16 MHz / R 2 * F 80 = 640 MHz, / Q 2
    PLL_SELECT = 1 << 16,
    PLL_FROM_CRYSTAL = 1 << 17,
    PLL_BYPASS = 1 << 18,
    OUTDIV_BY_1 = 1 << 8,
    SCKDIV_40_MHZ = 3, // 320 MHz / (2 * (3 + 1)): the flash reads up to 50 MHz without a wait
    PINS_UART0 = 3 << 16,
};

static const uint32_t hfxosc_ready = 1u << 31, pll_locked = 1u << 31;

const struct spk_board_info spk_board_info = {
    .isa = SPK_ISA, .tick_unit = SPK_TICK_CYCLE, .tick_hz = SPK_CORE_HZ};

// The core runs on its own oscillator while the PLL is set and locks (manual, 6.6).
static void clock_begin(void) {
    reg_write(QSPI0_SCKDIV, SCKDIV_40_MHZ);
    reg_write(PRCI_HFXOSCCFG, HFXOSC_ON);
    reg_await(PRCI_HFXOSCCFG, hfxosc_ready, hfxosc_ready);
    reg_write(PRCI_PLLOUTDIV, OUTDIV_BY_1);
    reg_clear(PRCI_PLLCFG, PLL_SELECT);
    reg_write(PRCI_PLLCFG, PLL_320_MHZ | PLL_FROM_CRYSTAL | PLL_BYPASS);
    reg_clear(PRCI_PLLCFG, PLL_BYPASS);
    for (volatile uint32_t left = 2000; left; left--) { // 100 us before the lock counts
    }
    if (reg_await(PRCI_PLLCFG, pll_locked, pll_locked)) {
        reg_set(PRCI_PLLCFG, PLL_SELECT);
    }
}

void spk_board_init(void) {
    spk_kept_begin();
    spk_watchdog_begin();
    clock_begin();
    reg_clear(GPIO_IOF_SEL, PINS_UART0);
    reg_set(GPIO_IOF_EN, PINS_UART0);
    spk_uart_start();
    spk_plic_start();
}

void spk_board_unique_id(uint8_t id[8]) {
    static const uint8_t name[8] = {'h', 'i', 'f', 'i', 'v', 'e', '1', 'b'}; // the part has none

    for (uint32_t i = 0; i < sizeof name; i++) {
        id[i] = name[i];
    }
}

// A jump to the start, which sets all devices that are used.
_Noreturn void spk_rv32_reset(void) {
    __asm__ volatile("tail _start");
    __builtin_unreachable();
}
