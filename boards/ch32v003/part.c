// CH32V003 at 48 MHz of its own 24 MHz oscillator, doubled; the serial line on USART1, PD5 and PD6.
// Registers as the reference manual (CH32V003RM 1.7: chapters RCC, FLASH, GPIO, USART) names them,
// SysTick as the QingKe V2 processor manual does. SPDX-License-Identifier: Apache-2.0
#include "part.h"

enum {
    RCC_CTLR = 0x40021000,
    RCC_CFGR0 = 0x40021004,
    RCC_APB2PCENR = 0x40021018,
    FLASH_ACTLR = 0x40022000,
    GPIOD_CFGLR = 0x40011400, // pins 0 to 7, four bits each
    GPIOD_BSHR = 0x40011410,  // ones set
    USART1_STATR = 0x40013800,
    USART1_DATAR = 0x40013804,
    USART1_BRR = 0x40013808,
    USART1_CTLR1 = 0x4001380C,
    CTLR_PLLON = 1 << 24,
    CTLR_PLLRDY = 1 << 25,
    CFGR0_HSI_2 = 0, // PLLSRC: the oscillator, twice; HPRE: undivided, which a reset does not say
    CFGR0_SW_PLL = 2,
    CFGR0_SWS = 3 << 2,
    CFGR0_SWS_PLL = 2 << 2,
    ACTLR_1_WAIT = 1, // 24 to 48 MHz
    APB2_IOPD = 1 << 5,
    APB2_USART1 = 1 << 14,
    CFGLR_PD5 = 0xB << 20, // output of the USART, push-pull
    CFGLR_PD6 = 0x8 << 24, // input, pulled ...
    CFGLR_PD5_PD6 = 0xFF << 20,
    BSHR_PD6 = 1 << 6, // ... up
    STATR_RXNE = 1 << 5,
    STATR_TXE = 1 << 7,
    CTLR1_ON = 1 << 13 | 1 << 3 | 1 << 2, // UE, TE, RE
    BRR_115200 = (48000000 + 57600) / 115200,
};

static const uint32_t stk_ctlr = 0xE000F000, stk_cnt = 0xE000F008; // STE, STCLK; count

static volatile uint32_t *reg(uint32_t address) {
    return (volatile uint32_t *)address;
}

void part_begin(void) {
    *reg(FLASH_ACTLR) = ACTLR_1_WAIT;
    *reg(RCC_CFGR0) = CFGR0_HSI_2;
    *reg(RCC_CTLR) |= CTLR_PLLON;
    while (!(*reg(RCC_CTLR) & CTLR_PLLRDY)) {
    }
    *reg(RCC_CFGR0) = CFGR0_HSI_2 | CFGR0_SW_PLL;
    while ((*reg(RCC_CFGR0) & CFGR0_SWS) != CFGR0_SWS_PLL) {
    }
    *reg(stk_ctlr) = 1 | 1 << 2;
    *reg(RCC_APB2PCENR) |= APB2_IOPD | APB2_USART1;
    *reg(GPIOD_CFGLR) = (*reg(GPIOD_CFGLR) & ~(uint32_t)CFGLR_PD5_PD6) | CFGLR_PD5 | CFGLR_PD6;
    *reg(GPIOD_BSHR) = BSHR_PD6;
    *reg(USART1_BRR) = BRR_115200;
    *reg(USART1_CTLR1) = CTLR1_ON;
}

int part_read(void *to, uint32_t bytes) {
    uint8_t *at = to;

    while (bytes-- > 0) {
        while (!(*reg(USART1_STATR) & STATR_RXNE)) {
        }
        *at++ = (uint8_t)*reg(USART1_DATAR);
    }
    return 1;
}

void part_write(const void *from, uint32_t bytes) {
    const uint8_t *at = from;

    while (bytes-- > 0) {
        while (!(*reg(USART1_STATR) & STATR_TXE)) {
        }
        *reg(USART1_DATAR) = *at++;
    }
}

uint32_t part_ticks(void) {
    return *reg(stk_cnt);
}
