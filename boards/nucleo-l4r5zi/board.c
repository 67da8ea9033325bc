// Nucleo-L4R5ZI: STM32L4R5ZI at 120 MHz, made of its 16 MHz oscillator (0.8 % off from 0 to 85
// degrees): the board has no crystal for it. Registers as RM0432 (chapters PWR, RCC, FLASH, GPIO)
// and ST's header stm32l4r5xx.h name them, pins as UM2179. SPDX-License-Identifier: Apache-2.0
#include "arm_m.h"
#include "kept.h"
#include "stm32.h"
#include "uart.h"
#include "watchdog.h"

enum {
    RCC_CR = 0x40021000,
    RCC_CFGR = 0x40021008,
    RCC_PLLCFGR = 0x4002100C,
    RCC_AHB2ENR = 0x4002104C,
    RCC_APB1ENR1 = 0x40021058,
    RCC_APB1ENR2 = 0x4002105C,
    PWR_CR2 = 0x40007004,
    PWR_SR2 = 0x40007014,
    PWR_CR5 = 0x40007080,
    FLASH_ACR = 0x40022000,
    FLASH_KEYR = 0x40022008,
    FLASH_SR = 0x40022010,
    FLASH_CR = 0x40022014,
    FLASH_ECCR = 0x40022018,
    GPIOG = 0x48001800,
    UID = 0x1FFF7590,
    CR_HSION = 1 << 8,
    CR_HSIRDY = 1 << 10,
    CR_PLLON = 1 << 24,
    CR_PLLRDY = 1 << 25,
    CFGR_HPRE = 0xF << 4,
    CFGR_HPRE_2 = 8 << 4,
    CFGR_PLL = 3,
    CFGR_SWS_PLL = 3 << 2,
    PLL_120_MHZ = 2 | (2 - 1) << 4 | 30 << 8 | 1 << 24, // HSI16 / M 2 * N 30 = 240, / R 2
    AHB2ENR_GPIOG = 1 << 6,
    APB1ENR1_PWR = 1 << 28,
    APB1ENR2_LPUART1 = 1 << 0,
    CR2_IOSV = 1 << 9,   // VDDIO2 is there: it feeds PG2 to PG15
    CR5_R1MODE = 1 << 8, // 0: boost, for more than 80 MHz
    SR2_VOSF = 1 << 10,
    ACR_5_WAITS = 5,     // 100 to 120 MHz in range 1, boosted
    ACR_CACHES = 7 << 8, // DCEN, ICEN, PRFTEN
    ACR_DCEN = 1 << 10,
    ACR_DCRST = 1 << 12,
    ACR_LATENCY = 0xF,
    AF8_LPUART1 = 8,
    KEY1 = 0x45670123,
    CR_PG = 1 << 0,
    CR_PER = 1 << 1,
    CR_PAGE = 3, // position of PNB
    CR_BANK_2 = 1 << 11,
    CR_START = 1 << 16,
    SR_BSY = 1 << 16,
    SR_ERRORS = 0x3FA, // OPERR, PROGERR, WRPERR, PGAERR, SIZERR, PGSERR, MISERR, FASTERR
    BANK_2 = 0x08100000,
    PAGE = 4096,
};

static const uint32_t key2 = 0xCDEF89AB, lock = 1u << 31, eccd = 1u << 31;

const struct spk_board_info spk_board_info = {
    .isa = SPK_ISA, .tick_unit = SPK_TICK_CYCLE, .tick_hz = SPK_CORE_HZ};

const struct spk_board_storage spk_board_storage = {SPK_STORAGE_BYTES, SPK_STORAGE_PAGE};

// More than 80 MHz is reached by way of half of it, for a microsecond at least (RM0432, 5.1.7).
static void clock_begin(void) {
    reg_set(RCC_APB1ENR1, APB1ENR1_PWR);
    reg_await(PWR_SR2, SR2_VOSF, 0); // reading it gives the clock its two cycles
    reg_clear(PWR_CR5, CR5_R1MODE);
    reg_set(RCC_CR, CR_HSION);
    reg_await(RCC_CR, CR_HSIRDY, CR_HSIRDY);
    reg_change(FLASH_ACR, ACR_LATENCY, ACR_5_WAITS | ACR_CACHES);
    reg_await(FLASH_ACR, ACR_LATENCY, ACR_5_WAITS);
    reg_write(RCC_PLLCFGR, PLL_120_MHZ);
    reg_set(RCC_CR, CR_PLLON);
    if (reg_await(RCC_CR, CR_PLLRDY, CR_PLLRDY)) {
        reg_change(RCC_CFGR, CFGR_HPRE, CFGR_HPRE_2);
        reg_set(RCC_CFGR, CFGR_PLL);
        reg_await(RCC_CFGR, 3 << 2, CFGR_SWS_PLL);
        for (volatile uint32_t left = 60; left; left--) {
        }
        reg_clear(RCC_CFGR, CFGR_HPRE);
    }
}

void spk_board_init(void) {
    spk_kept_begin();
    spk_watchdog_begin();
    clock_begin();
    spk_systick_start();
    reg_set(PWR_CR2, CR2_IOSV);
    reg_set(RCC_AHB2ENR, AHB2ENR_GPIOG);
    reg_set(RCC_APB1ENR2, APB1ENR2_LPUART1);
    (void)reg_read(RCC_APB1ENR2); // a clock needs two cycles to arrive
    stm32_pin(GPIOG, 7, AF8_LPUART1);
    stm32_pin(GPIOG, 8, AF8_LPUART1);
    spk_uart_start();
    spk_arm_listen();
}

void spk_board_unique_id(uint8_t id[8]) {
    stm32_unique_id(UID, id);
}

// The data cache of flash may be corrupted by reads while the other bank is written (ES0393), and
// it would answer with what was there before: it is off meanwhile, and then empty.
static void flash_open(uint32_t what) {
    reg_clear(FLASH_ACR, ACR_DCEN);
    reg_write(FLASH_KEYR, KEY1);
    reg_write(FLASH_KEYR, key2);
    reg_write(FLASH_SR, SR_ERRORS); // ones clear
    reg_write(FLASH_CR, what);
}

// Answers the errors of what was done since flash_open(), 0 where there are none.
static int flash_close(void) {
    while (reg_read(FLASH_SR) & SR_BSY) {
    }
    const uint32_t errors = reg_read(FLASH_SR) & SR_ERRORS;
    reg_write(FLASH_CR, lock);
    reg_set(FLASH_ACR, ACR_DCRST);
    reg_clear(FLASH_ACR, ACR_DCRST);
    reg_set(FLASH_ACR, ACR_DCEN);
    return (int)errors;
}

int spk_board_storage_erase(uint32_t offset) {
    const uint32_t page = (SPK_STORAGE_BASE - BANK_2 + offset) / PAGE;

    flash_open(CR_PER | CR_BANK_2 | page << CR_PAGE);
    reg_set(FLASH_CR, CR_START);
    return flash_close();
}

// Flash takes eight bytes with their error correction, each once between two erases.
int spk_board_storage_write(uint32_t offset, const uint8_t *data, uint32_t size) {
    flash_open(CR_PG);
    for (uint32_t i = 0; i < size; i += 4) {
        reg_write(SPK_STORAGE_BASE + offset + i, word_of(data + i));
        stm32_in_order();
        if (i & 4) {
            while (reg_read(FLASH_SR) & SR_BSY) {
            }
        }
    }
    return flash_close();
}

static volatile int unreadable;

// A word that error correction cannot mend, which a write that lost power leaves behind.
void spk_arm_nmi(void) {
    if (!(reg_read(FLASH_ECCR) & eccd)) {
        spk_board_reset();
    }
    reg_write(FLASH_ECCR, eccd); // ones clear
    unreadable = 1;
}

int spk_board_storage_read(uint32_t offset, void *data, uint32_t size) {
    const volatile uint8_t *flash = (const volatile uint8_t *)(SPK_STORAGE_BASE + offset);
    uint8_t *out = data;

    unreadable = 0;
    for (uint32_t i = 0; i < size; i++) {
        out[i] = flash[i];
    }
    return unreadable;
}
