// Netduino Plus 2: STM32F405RG (RM0090) at 168 MHz; the link on USART1, PB6 and PB7. QEMU has the
// USART and not the clocks: there the waits for them end without one.
// SPDX-License-Identifier: Apache-2.0
#include "arm_m.h"
#include "kept.h"
#include "stm32.h"
#include "uart.h"

enum {
    FLASH_ACR = 0x40023C00,
    RCC_CR = 0x40023800,
    RCC_PLLCFGR = 0x40023804,
    RCC_CFGR = 0x40023808,
    RCC_AHB1ENR = 0x40023830,
    RCC_APB2ENR = 0x40023844,
    GPIOB = 0x40020400,
    ACR_5_WAITS = 5,     // 150 to 168 MHz at 2.7 to 3.6 V
    ACR_CACHES = 7 << 8, // ICEN, DCEN, PRFTEN
    CR_HSEON = 1 << 16,
    CR_HSERDY = 1 << 17,
    CR_PLLON = 1 << 24,
    CR_PLLRDY = 1 << 25,
    PLL_M_HSE = 25,          // 25 MHz crystal: 1 MHz into the PLL
    PLL_M_HSI = 16,          // 16 MHz of its own, 1 % off
    PLL_336_BY_2 = 336 << 6, // N = 336, P = 2: 168 MHz
    PLL_48_MHZ = 7 << 24,    // Q
    PLL_SRC_HSE = 1 << 22,
    CFGR_APB1_4 = 5 << 10, // 42 MHz
    CFGR_APB2_2 = 4 << 13, // 84 MHz
    CFGR_PLL = 2,
    CFGR_SWS_PLL = 2 << 2,
    AHB1ENR_GPIOB = 1 << 1,
    APB2ENR_USART1 = 1 << 4,
    AF7_USART1 = 7,
};

const struct spk_board_info spk_board_info = {
    .isa = SPK_ISA, .tick_unit = SPK_TICK_CYCLE, .tick_hz = SPK_CORE_HZ};

static void clock_begin(void) {
    uint32_t source = PLL_M_HSI;

    reg_set(RCC_CR, CR_HSEON);
    if (reg_await(RCC_CR, CR_HSERDY, CR_HSERDY)) {
        source = PLL_M_HSE | PLL_SRC_HSE;
    }
    reg_write(FLASH_ACR, ACR_5_WAITS | ACR_CACHES);
    reg_write(RCC_PLLCFGR, source | PLL_336_BY_2 | PLL_48_MHZ);
    reg_set(RCC_CR, CR_PLLON);
    if (reg_await(RCC_CR, CR_PLLRDY, CR_PLLRDY)) {
        reg_write(RCC_CFGR, CFGR_APB1_4 | CFGR_APB2_2);
        reg_set(RCC_CFGR, CFGR_PLL);
        reg_await(RCC_CFGR, 3 << 2, CFGR_SWS_PLL);
    }
}

void spk_board_init(void) {
    spk_kept_begin();
    clock_begin();
    spk_systick_start();
    reg_set(RCC_AHB1ENR, AHB1ENR_GPIOB);
    reg_set(RCC_APB2ENR, APB2ENR_USART1);
    stm32_pin(GPIOB, 6, AF7_USART1);
    stm32_pin(GPIOB, 7, AF7_USART1);
    spk_uart_start();
    spk_arm_listen();
}

void spk_board_unique_id(uint8_t id[8]) {
    static const uint8_t name[8] = "stm32f4"; // QEMU has not what the factory wrote

    for (uint32_t i = 0; i < sizeof name; i++) {
        id[i] = name[i];
    }
}
