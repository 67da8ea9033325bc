// Nucleo-H743ZI: STM32H743ZI at 400 MHz, the most that each of its revisions is made for, from the
// 8 MHz that the ST-LINK gives. Registers as RM0433 (chapters PWR, RCC, FLASH, GPIO) and ST's
// header stm32h743xx.h name them, pins as UM1974. No DMA: the core alone reads and writes what is
// cached. SPDX-License-Identifier: Apache-2.0
#include "arm_m.h"
#include "kept.h"
#include "stm32.h"
#include "uart.h"
#include "watchdog.h"

enum {
    RCC_CR = 0x58024400,
    RCC_CFGR = 0x58024410,
    RCC_D1CFGR = 0x58024418,
    RCC_D2CFGR = 0x5802441C,
    RCC_D3CFGR = 0x58024420,
    RCC_PLLCKSELR = 0x58024428,
    RCC_PLLCFGR = 0x5802442C,
    RCC_PLL1DIVR = 0x58024430,
    RCC_AHB4ENR = 0x580244E0,
    RCC_APB1LENR = 0x580244E8,
    PWR_CSR1 = 0x58024804,
    PWR_CR3 = 0x5802480C,
    PWR_D3CR = 0x58024818,
    FLASH_ACR = 0x52002000,
    FLASH_KEYR2 = 0x52002104,
    FLASH_CR2 = 0x5200210C,
    FLASH_SR2 = 0x52002110,
    FLASH_CCR2 = 0x52002114,
    GPIOD = 0x58020C00,
    UID = 0x1FF1E800,
    CR_HSEON = 1 << 16,
    CR_HSERDY = 1 << 17,
    CR_HSEBYP = 1 << 18, // a clock comes in, there is no crystal
    CR_PLL1ON = 1 << 24,
    CR_PLL1RDY = 1 << 25,
    CKSEL_HSE = 2 | 1 << 4,          // 8 MHz / M 1
    CKSEL_HSI = 0 | 8 << 4,          // 64 MHz of its own / M 8
    PLLCFG_8_MHZ = 3 << 2 | 1 << 16, // 8 to 16 MHz come in, the wide VCO, output P is on
    DIV_400_MHZ = (100 - 1) | (2 - 1) << 9 | (2 - 1) << 16 | (2 - 1) << 24, // * N 100 / P 2
    D1_HCLK_2_PCLK_2 = 8 | 4 << 4,                                          // 200 MHz, 100 MHz
    D2_PCLK_2 = 4 << 4 | 4 << 8,                                            // both 100 MHz
    D3_PCLK_2 = 4 << 4,
    CFGR_PLL1 = 3,
    CFGR_SWS_PLL1 = 3 << 3,
    AHB4ENR_GPIOD = 1 << 3,
    APB1LENR_USART3 = 1 << 18,
    CR3_LDO = 1 << 1,
    CSR1_ACTVOSRDY = 1 << 13,
    D3CR_VOS1 = 3 << 14,
    D3CR_VOSRDY = 1 << 13,
    ACR_2_WAITS = 2 | 2 << 4, // 185 to 210 MHz at VOS1, with the delay of signals for it
    AF7_USART3 = 7,
    KEY1 = 0x45670123,
    CR_LOCK = 1 << 0,
    CR_PG = 1 << 1,
    CR_SER = 1 << 2,
    CR_PSIZE_64 = 3 << 4,
    CR_START = 1 << 7,
    CR_SECTOR = 8,         // position of SNB
    SR_BUSY = 7,           // BSY, WBNE, QW
    SR_ALL = 0x7EE0000,    // WRPERR to DBECCERR
    SR_ERRORS = 0x5EE0000, // without SNECCERR, one bit that was mended
    SR_DBECCERR = 1 << 26,
    SCB_CCR = 0xD14,
    CCR_BFHFNMIGN = 1 << 8, // with FAULTMASK: a load that fails is no fault
    BANK_2 = 0x08100000,
    SECTOR = 0x20000,
};

static const uint32_t key2 = 0xCDEF89AB;

const struct spk_board_info spk_board_info = {
    .isa = SPK_ISA, .tick_unit = SPK_TICK_CYCLE, .tick_hz = SPK_CORE_HZ};

const struct spk_board_storage spk_board_storage = {SPK_STORAGE_BYTES, SPK_STORAGE_PAGE};

static void clock_begin(void) {
    uint32_t source = CKSEL_HSI;

    reg_write(PWR_CR3, CR3_LDO); // LDOEN, not SCUEN: once after power-on, how the part is fed
    reg_await(PWR_CSR1, CSR1_ACTVOSRDY, CSR1_ACTVOSRDY);
    reg_set(PWR_D3CR, D3CR_VOS1);
    reg_await(PWR_D3CR, D3CR_VOSRDY, D3CR_VOSRDY);
    reg_set(RCC_CR, CR_HSEBYP);
    reg_set(RCC_CR, CR_HSEON);
    if (reg_await(RCC_CR, CR_HSERDY, CR_HSERDY)) {
        source = CKSEL_HSE;
    }
    reg_write(RCC_PLLCKSELR, source);
    reg_write(RCC_PLLCFGR, PLLCFG_8_MHZ);
    reg_write(RCC_PLL1DIVR, DIV_400_MHZ);
    reg_set(RCC_CR, CR_PLL1ON);
    if (reg_await(RCC_CR, CR_PLL1RDY, CR_PLL1RDY)) {
        reg_write(FLASH_ACR, ACR_2_WAITS);
        reg_await(FLASH_ACR, 0x3F, ACR_2_WAITS);
        reg_write(RCC_D1CFGR, D1_HCLK_2_PCLK_2);
        reg_write(RCC_D2CFGR, D2_PCLK_2);
        reg_write(RCC_D3CFGR, D3_PCLK_2);
        reg_change(RCC_CFGR, 7, CFGR_PLL1);
        reg_await(RCC_CFGR, 7 << 3, CFGR_SWS_PLL1);
    }
}

void spk_board_init(void) {
    spk_kept_begin();
    spk_watchdog_begin();
    clock_begin();
    spk_arm_caches_on();
    spk_systick_start();
    reg_set(RCC_AHB4ENR, AHB4ENR_GPIOD);
    reg_set(RCC_APB1LENR, APB1LENR_USART3); // its kernel clock: PCLK1, as RCC_D2CCIP2R is reset to
    (void)reg_read(RCC_APB1LENR);           // a clock needs two cycles to arrive
    stm32_pin(GPIOD, 8, AF7_USART3);
    stm32_pin(GPIOD, 9, AF7_USART3);
    spk_uart_start();
    spk_arm_listen();
}

void spk_board_unique_id(uint8_t id[8]) {
    stm32_unique_id(UID, id);
}

static void flash_open(uint32_t what) {
    reg_write(FLASH_KEYR2, KEY1);
    reg_write(FLASH_KEYR2, key2);
    reg_write(FLASH_CCR2, SR_ALL); // ones clear
    reg_write(FLASH_CR2, what);
}

// Answers the errors of what was done since flash_open(), 0 where there are none.
static int flash_close(void) {
    while (reg_read(FLASH_SR2) & SR_BUSY) {
    }
    const uint32_t errors = reg_read(FLASH_SR2) & SR_ERRORS;
    reg_write(FLASH_CR2, CR_LOCK);
    return (int)errors;
}

int spk_board_storage_erase(uint32_t offset) {
    const uint32_t sector = (SPK_STORAGE_BASE - BANK_2 + offset) / SECTOR;

    flash_open(CR_SER | CR_PSIZE_64 | sector << CR_SECTOR);
    reg_set(FLASH_CR2, CR_START);
    return flash_close();
}

// Flash takes 32 bytes with their error correction, each once between two erases.
int spk_board_storage_write(uint32_t offset, const uint8_t *data, uint32_t size) {
    flash_open(CR_PG | CR_PSIZE_64);
    for (uint32_t i = 0; i < size; i += 4) {
        reg_write(SPK_STORAGE_BASE + offset + i, word_of(data + i));
        stm32_in_order();
        if (i % 32 == 28) {
            while (reg_read(FLASH_SR2) & SR_BUSY) {
            }
        }
    }
    return flash_close();
}

// A word that error correction cannot mend, which a write that lost power leaves behind, is a bus
// error: none is taken here.
int spk_board_storage_read(uint32_t offset, void *data, uint32_t size) {
    const volatile uint8_t *flash = (const volatile uint8_t *)(SPK_STORAGE_BASE + offset);
    uint8_t *out = data;

    reg_write(FLASH_CCR2, SR_DBECCERR);
    __asm__ volatile("cpsid f" ::: "memory");
    reg_set(SPK_SCS + SCB_CCR, CCR_BFHFNMIGN);
    __asm__ volatile("dsb\n isb" ::: "memory");
    for (uint32_t i = 0; i < size; i++) {
        out[i] = flash[i];
    }
    __asm__ volatile("dsb" ::: "memory");
    reg_clear(SPK_SCS + SCB_CCR, CCR_BFHFNMIGN);
    __asm__ volatile("cpsie f\n isb" ::: "memory");
    return (reg_read(FLASH_SR2) & SR_DBECCERR) != 0;
}
