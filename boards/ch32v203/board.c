// CH32V203C8 (reference manual CH32FV2x_V3xRM 2.4) at 144 MHz of an 8 MHz crystal; the link on
// USART1, PA9 and PA10. SPDX-License-Identifier: Apache-2.0
#include "rv32.h"
#include "uart.h"

enum {
    RCC_CTLR = 0x40021000,
    RCC_CFGR0 = 0x40021004,
    RCC_PB2PCENR = 0x40021018,
    EXTEN_CTR = 0x40023800,
    GPIOA_CFGHR = 0x40010804,
    ESIG_UNIID = 0x1FFFF7E8,
    CTLR_HSEON = 1 << 16,
    CTLR_HSERDY = 1 << 17,
    CTLR_PLLON = 1 << 24,
    CTLR_PLLRDY = 1 << 25,
    CFGR0_PLL_HSE = 1 << 16,
    CFGR0_PLL_18 = 15 << 18, // 8 MHz * 18
    CFGR0_PB1_2 = 4 << 8,    // 72 MHz
    CFGR0_PLL = 2,
    CFGR0_SWS_PLL = 2 << 2,
    CTR_PLL_HSI_1 = 1 << 4, // its own 8 MHz go into the PLL undivided
    PB2_IOPA = 1 << 2,
    PB2_USART1 = 1 << 14,
    CFGHR_PA9_PA10 = 0x4B0, // PA9 output of the USART, push-pull, 50 MHz; PA10 input
    STK_ON_HCLK = 1 << 0 | 1 << 2,
};

// The core's own devices (QingKe V4 manual).
static const uint32_t pfic_ienr = 0xE000E100, pfic_cfgr = 0xE000E048, stk_ctlr = 0xE000F000,
                      pfic_reset = 0xBEEF0080; // KEY3, RESETSYS

const struct spk_board_info spk_board_info = {
    .isa = SPK_ISA, .tick_unit = SPK_TICK_CYCLE, .tick_hz = SPK_CORE_HZ};

// Flash reads without a wait at any rate: it is mirrored in RAM.
static void clock_begin(void) {
    uint32_t source = 0;

    reg_set(RCC_CTLR, CTLR_HSEON);
    if (reg_await(RCC_CTLR, CTLR_HSERDY, CTLR_HSERDY)) {
        source = CFGR0_PLL_HSE;
    } else {
        reg_set(EXTEN_CTR, CTR_PLL_HSI_1);
    }
    reg_write(RCC_CFGR0, source | CFGR0_PLL_18 | CFGR0_PB1_2);
    reg_set(RCC_CTLR, CTLR_PLLON);
    if (reg_await(RCC_CTLR, CTLR_PLLRDY, CTLR_PLLRDY)) {
        reg_set(RCC_CFGR0, CFGR0_PLL);
        reg_await(RCC_CFGR0, 3 << 2, CFGR0_SWS_PLL);
    }
}

void spk_board_init(void) {
    spk_kept_begin();
    clock_begin();
    reg_write(stk_ctlr, STK_ON_HCLK);
    reg_set(RCC_PB2PCENR, PB2_IOPA | PB2_USART1);
    reg_change(GPIOA_CFGHR, 0xFF0, CFGHR_PA9_PA10);
    spk_uart_start();
    __asm__ volatile("csrw 0x804, zero"); // INTSYSCR: no registers kept by hardware, no nesting
    reg_write(pfic_ienr + SPK_UART_IRQ / 32 * 4, 1u << SPK_UART_IRQ % 32);
    irq_on();
}

SPK_RAMFUNC uint32_t spk_core_ticks(void) {
    return *(volatile uint32_t *)0xE000F008; // STK_CNTL
}

SPK_RAMFUNC void spk_rv32_interrupt(void) {
    spk_uart_interrupt();
}

void spk_board_unique_id(uint8_t id[8]) {
    for (uint32_t i = 0; i < 8; i++) {
        id[i] = (uint8_t)(reg_read(ESIG_UNIID + (i & 4)) >> 8 * (i & 3));
    }
}

_Noreturn void spk_rv32_reset(void) {
    reg_write(pfic_cfgr, pfic_reset);
    for (;;) {
    }
}
