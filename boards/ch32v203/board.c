// CH32V203C8 at 144 MHz of an 8 MHz crystal; the link on USART1, PA9 and PA10. Registers as the
// reference manual (CH32FV2x_V3xRM 2.5: chapters RCC, EXTEN, GPIO, FLASH, ESIG) names them, those
// of the core as the QingKe V4 processor manual does. SPDX-License-Identifier: Apache-2.0
#include "rv32.h"
#include "uart.h"
#include "watchdog.h"

enum {
    RCC_CTLR = 0x40021000,
    RCC_CFGR0 = 0x40021004,
    RCC_PB2PCENR = 0x40021018,
    EXTEN_CTR = 0x40023800,
    GPIOA_CFGHR = 0x40010804, // pins 8 to 15, four bits each
    GPIOA_BSHR = 0x40010810,  // ones set
    ESIG_UNIID = 0x1FFFF7E8,
    CTLR_HSEON = 1 << 16,
    CTLR_HSERDY = 1 << 17,
    CTLR_PLLON = 1 << 24,
    CTLR_PLLRDY = 1 << 25,
    CFGR0_PLL_HSE = 1 << 16,
    CFGR0_PLL_18 = 15 << 18, // 8 MHz * 18
    CFGR0_PB1_2 = 4 << 8,    // 72 MHz
    CFGR0_HCLK_2 = 8 << 4,
    CFGR0_PLL = 2,
    CFGR0_SWS_PLL = 2 << 2,
    CTR_PLL_HSI_1 = 1 << 4, // its own 8 MHz go into the PLL undivided
    PB2_IOPA = 1 << 2,
    PB2_USART1 = 1 << 14,
    CFGHR_PA9_PA10 = 0x8B0, // PA9 output of the USART, push-pull, 50 MHz; PA10 input, pulled ...
    BSHR_PA10 = 1 << 10,    // ... up: silence where nothing is connected
    STK_ON_HCLK = 1 << 0 | 1 << 2, // STE, STCLK
    CSR_CORECFGR = 0xBC0,
    CORECFGR_FAST = 0x1F, // pipelining and prediction, as WCH's start-up has them
    CSR_INTSYSCR = 0x804,
    CSR_DBGMCU_CR = 0x7C0,
    DBGMCU_IWDG_STOP = 1 << 8, // while a debugger holds the core
    ERASED_LOW = 0x39, // what erased flash reads as, at even and at odd addresses (chapter FLASH)
    ERASED_HIGH = 0xE3,
};
_Static_assert(SPK_FLASH_ERASED == (ERASED_HIGH << 8 | ERASED_LOW), "the same for the writer");

// The core's own devices (QingKe V4 manual).
static const uint32_t pfic_ienr = 0xE000E100, pfic_cfgr = 0xE000E048, stk_ctlr = 0xE000F000,
                      stk_cntl = 0xE000F008, pfic_reset = 0xBEEF0080; // KEY3, SYSRST

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
    spk_watchdog_begin();
    clock_begin();
    __asm__ volatile("csrw %0, %1" ::"i"(CSR_CORECFGR), "r"(CORECFGR_FAST));
    __asm__ volatile("csrs %0, %1" ::"i"(CSR_DBGMCU_CR), "r"(DBGMCU_IWDG_STOP));
    reg_write(stk_ctlr, STK_ON_HCLK);
    reg_set(RCC_PB2PCENR, PB2_IOPA | PB2_USART1);
    reg_change(GPIOA_CFGHR, 0xFF0, CFGHR_PA9_PA10);
    reg_write(GPIOA_BSHR, BSHR_PA10);
    spk_uart_start();
    __asm__ volatile(
        "csrw %0, zero" ::"i"(CSR_INTSYSCR)); // hardware keeps no registers, no nesting
    reg_write(pfic_ienr + SPK_UART_IRQ / 32 * 4, 1u << SPK_UART_IRQ % 32);
    irq_on();
}

SPK_RAMFUNC uint32_t spk_core_ticks(void) {
    return reg_read(stk_cntl);
}

SPK_RAMFUNC void spk_rv32_interrupt(void) {
    spk_uart_interrupt();
}

// Above 120 MHz flash is erased and written at half the core's clock, and so is the UART's: the
// host is silent meanwhile, and what was sent has left.
void spk_flash_begin(void) {
    while (!spk_uart_has_sent()) {
    }
    reg_set(RCC_CFGR0, CFGR0_HCLK_2);
}

void spk_flash_end(void) {
    reg_clear(RCC_CFGR0, CFGR0_HCLK_2);
}

int spk_board_storage_read(uint32_t offset, void *data, uint32_t size) {
    const volatile uint8_t *flash = (const volatile uint8_t *)(SPK_STORAGE_BASE + offset);
    uint8_t *out = data;

    for (uint32_t i = 0; i < size; i++) {
        out[i] = flash[i] ^ 0xFF ^ ((offset + i) & 1 ? ERASED_HIGH : ERASED_LOW);
    }
    return 0;
}

void spk_board_unique_id(uint8_t id[8]) {
    reg_read_id(ESIG_UNIID, id);
}

_Noreturn void spk_rv32_reset(void) {
    reg_write(pfic_cfgr, pfic_reset);
    for (;;) {
    }
}
