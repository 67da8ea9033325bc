// STM32VLDISCOVERY: STM32F100RB (RM0041) at 24 MHz; the link on USART1, PA9 and PA10. QEMU has the
// USART and not the clocks: there the waits for them end without one.
// SPDX-License-Identifier: Apache-2.0
#include "arm_m.h"
#include "kept.h"
#include "stm32.h"
#include "uart.h"

enum {
    RCC_CR = 0x40021000,
    RCC_CFGR = 0x40021004,
    RCC_APB2ENR = 0x40021018,
    GPIOA_CRH = 0x40010804,
    CR_HSEON = 1 << 16,
    CR_HSERDY = 1 << 17,
    CR_PLLON = 1 << 24,
    CR_PLLRDY = 1 << 25,
    CFGR_PLL_HSE = 1 << 16 | 1 << 18, // 8 MHz crystal, 3 times: 24 MHz
    CFGR_PLL_HSI = 4 << 18,           // 4 MHz, half of its own 8, 6 times
    CFGR_PLL = 2,
    CFGR_SWS_PLL = 2 << 2,
    APB2ENR_GPIOA = 1 << 2,
    APB2ENR_USART1 = 1 << 14,
    CRH_PA9_PA10 = 0x4B0, // PA9 output of the USART, push-pull, 50 MHz; PA10 input
};

const struct spk_board_info spk_board_info = {
    .isa = SPK_ISA, .tick_unit = SPK_TICK_CYCLE, .tick_hz = SPK_CORE_HZ};

static void clock_begin(void) {
    uint32_t source = CFGR_PLL_HSI;

    reg_set(RCC_CR, CR_HSEON);
    if (reg_await(RCC_CR, CR_HSERDY, CR_HSERDY)) {
        source = CFGR_PLL_HSE;
    }
    reg_write(RCC_CFGR, source);
    reg_set(RCC_CR, CR_PLLON);
    if (reg_await(RCC_CR, CR_PLLRDY, CR_PLLRDY)) {
        reg_set(RCC_CFGR, CFGR_PLL); // flash needs no wait up to 24 MHz
        reg_await(RCC_CFGR, 3 << 2, CFGR_SWS_PLL);
    }
}

void spk_board_init(void) {
    spk_kept_begin();
    clock_begin();
    spk_systick_start();
    reg_set(RCC_APB2ENR, APB2ENR_GPIOA | APB2ENR_USART1);
    reg_change(GPIOA_CRH, 0xFF0, CRH_PA9_PA10);
    spk_uart_start();
    spk_arm_listen();
}

void spk_board_unique_id(uint8_t id[8]) {
    static const uint8_t name[8] = "stm32f1"; // QEMU has not what the factory wrote

    for (uint32_t i = 0; i < sizeof name; i++) {
        id[i] = name[i];
    }
}
