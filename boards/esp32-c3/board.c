// ESP32-C3 at 160 MHz of its 40 MHz crystal; the link on UART0. The boot ROM has copied the image
// from SPI flash into SRAM, so nothing executes from flash while it is written, by the ROM's
// functions. Registers as the technical reference manual 1.1 (chapters System Registers, Low-power
// Management, Watchdog Timers, Interrupt Matrix, IO MUX) and Espressif's soc/*_reg.h name them.
// SPDX-License-Identifier: Apache-2.0
#include "rv32.h"
#include "uart.h"
#include "watchdog.h"

enum {
    RTC_CNTL_OPTIONS0 = 0x60008000,
    RTC_CNTL_WDTCONFIG0 = 0x60008090,
    RTC_CNTL_WDTWPROTECT = 0x600080A8,
    RTC_CNTL_SWD_CONF = 0x600080AC,
    RTC_CNTL_SWD_WPROTECT = 0x600080B0,
    BBPLL_FORCE_PD = 1 << 6 | 1 << 8 | 1 << 10, // BB_I2C, BBPLL_I2C and BBPLL: powered down
    EFUSE_RD_MAC_SPI_SYS_0 = 0x60008844,        // the part's MAC address, 48 bits
    EFUSE_RD_MAC_SPI_SYS_1 = 0x60008848,
    IO_MUX_GPIO20 = 0x60009054,         // U0RXD is its function 0
    IO_MUX_GPIO21 = 0x60009058,         // U0TXD likewise
    PAD_RX = 1 << 9 | 1 << 8 | 2 << 10, // FUN_IE, FUN_WPU, FUN_DRV
    PAD_TX = 2 << 10,
    TIMG0_WDTCONFIG0 = 0x6001F048,
    TIMG0_WDTWPROTECT = 0x6001F064,
    WDT_CONF_UPDATE_EN = 1 << 22, // what is written counts from here on
    SYSTEM_CPU_PER_CONF = 0x600C0008,
    SYSTEM_PERIP_CLK_EN0 = 0x600C0010,
    SYSTEM_PERIP_RST_EN0 = 0x600C0018,
    SYSTEM_SYSCLK_CONF = 0x600C0058,
    CPU_160_OF_480_MHZ = 1 << 2 | 1, // PLL_FREQ_SEL, CPUPERIOD_SEL
    CPU_PER_CONF_CLOCK = 7,
    SYSCLK_PLL = 1 << 10,            // SOC_CLK_SEL
    SYSCLK_SOURCE = 3 << 10 | 0x3FF, // and PRE_DIV_CNT
    PERIP_UART0 = 1 << 2 | 1 << 24,  // UART, UART_MEM
    INTERRUPT_UART_MAP = 0x600C2054, // INTERRUPT_CORE0_..., line of the core that UART0 asks at
    INTERRUPT_CPU_INT_ENABLE = 0x600C2104,
    INTERRUPT_CPU_INT_TYPE = 0x600C2108,
    INTERRUPT_CPU_INT_PRI_0 = 0x600C2114,
    INTERRUPT_CPU_INT_THRESH = 0x600C2194,
    CSR_MPCER = 0x7E0, // what is counted: bit 0, cycles
    CSR_MPCMR = 0x7E1, // bit 0: counts
    CSR_MPCCR = 0x7E2, // the count
};

static const uint32_t wdt_key = 0x50D83AA1, swd_key = 0x8F1D312A, swd_auto_feed = 1u << 31,
                      sw_sys_rst = 1u << 31;

const struct spk_board_info spk_board_info = {
    .isa = SPK_ISA, .tick_unit = SPK_TICK_CYCLE, .tick_hz = SPK_CORE_HZ};

const struct spk_board_storage spk_board_storage = {SPK_STORAGE_BYTES, SPK_STORAGE_PAGE};

// The boot ROM leaves three on: of timer group 0, of the RTC, and the one that feeds itself. The
// first is started again by the agent.
static void watchdogs_off(void) {
    reg_write(TIMG0_WDTWPROTECT, wdt_key);
    reg_write(TIMG0_WDTCONFIG0, WDT_CONF_UPDATE_EN);
    reg_write(TIMG0_WDTWPROTECT, 0);
    reg_write(RTC_CNTL_WDTWPROTECT, wdt_key);
    reg_write(RTC_CNTL_WDTCONFIG0, 0);
    reg_write(RTC_CNTL_WDTWPROTECT, 0);
    reg_write(RTC_CNTL_SWD_WPROTECT, swd_key);
    reg_set(RTC_CNTL_SWD_CONF, swd_auto_feed);
    reg_write(RTC_CNTL_SWD_WPROTECT, 0);
}

// The ROM has started the PLL, which its USB port needs; it makes 480 MHz.
static void clock_begin(void) {
    reg_clear(RTC_CNTL_OPTIONS0, BBPLL_FORCE_PD);
    reg_change(SYSTEM_CPU_PER_CONF, CPU_PER_CONF_CLOCK, CPU_160_OF_480_MHZ);
    reg_change(SYSTEM_SYSCLK_CONF, SYSCLK_SOURCE, SYSCLK_PLL);
}

void spk_board_init(void) {
    spk_kept_begin();
    spk_watchdog_begin();
    watchdogs_off();
    clock_begin();
    __asm__ volatile("csrw %0, %1" ::"i"(CSR_MPCER), "r"(1));
    __asm__ volatile("csrw %0, %1" ::"i"(CSR_MPCMR), "r"(1));
    reg_set(SYSTEM_PERIP_CLK_EN0, PERIP_UART0);
    reg_clear(SYSTEM_PERIP_RST_EN0, PERIP_UART0);
    reg_write(IO_MUX_GPIO20, PAD_RX);
    reg_write(IO_MUX_GPIO21, PAD_TX);
    spk_uart_start();
    reg_write(INTERRUPT_UART_MAP, SPK_UART_IRQ);
    reg_clear(INTERRUPT_CPU_INT_TYPE, 1u << SPK_UART_IRQ); // by level
    reg_write(INTERRUPT_CPU_INT_PRI_0 + 4 * SPK_UART_IRQ, 1);
    reg_write(INTERRUPT_CPU_INT_THRESH, 1);
    reg_write(INTERRUPT_CPU_INT_ENABLE, 1u << SPK_UART_IRQ);
    irq_on();
}

uint32_t spk_core_ticks(void) {
    uint32_t ticks;

    __asm__ volatile("csrr %0, %1" : "=r"(ticks) : "i"(CSR_MPCCR));
    return ticks;
}

void spk_rv32_interrupt(void) {
    spk_watchdog_interrupt();
    spk_uart_interrupt();
}

void spk_board_unique_id(uint8_t id[8]) {
    for (uint32_t i = 0; i < 8; i++) {
        const uint32_t word = reg_read(i < 4 ? EFUSE_RD_MAC_SPI_SYS_0 : EFUSE_RD_MAC_SPI_SYS_1);
        id[i] = i < 6 ? (uint8_t)(word >> 8 * (i & 3)) : (uint8_t)"C3"[i - 6];
    }
}

_Noreturn void spk_rv32_reset(void) {
    reg_write(RTC_CNTL_OPTIONS0, sw_sys_rst);
    for (;;) {
    }
}

// The ROM's functions for SPI flash, at the addresses of ESP-IDF's esp32c3.rom.ld; each answers 0
// where it succeeds, addresses and lengths are multiples of 4.
enum {
    ROM_SPIFLASH_ERASE_SECTOR = 0x40000128,
    ROM_SPIFLASH_WRITE = 0x4000012C,
    ROM_SPIFLASH_READ = 0x40000130,
    ROM_SPIFLASH_CONFIG_PARAM = 0x40000134,
    ROM_SPIFLASH_UNLOCK = 0x40000140,
    FLASH_BYTES = 4 << 20,
    CHUNK_WORDS = 16,
};

typedef int rom_erase_sector(uint32_t sector);
typedef int rom_transfer(uint32_t address, uint32_t *data, int32_t size);
typedef int rom_config(uint32_t id, uint32_t chip, uint32_t block, uint32_t sector, uint32_t page,
                       uint32_t status_mask);
typedef int rom_unlock(void);

static int flash_open(void) {
    const int set =
        ((rom_config *)ROM_SPIFLASH_CONFIG_PARAM)(0, FLASH_BYTES, 64 << 10, 4096, 256, 0xFFFF);
    return set ? set : ((rom_unlock *)ROM_SPIFLASH_UNLOCK)();
}

int spk_board_storage_erase(uint32_t offset) {
    const int opened = flash_open();

    return opened ? opened
                  : ((rom_erase_sector *)ROM_SPIFLASH_ERASE_SECTOR)((SPK_STORAGE_BASE + offset) /
                                                                    SPK_STORAGE_PAGE);
}

int spk_board_storage_write(uint32_t offset, const uint8_t *data, uint32_t size) {
    uint32_t words[CHUNK_WORDS];
    int failed = flash_open();

    for (uint32_t done = 0; done < size && !failed; done += sizeof words) {
        const uint32_t left = size - done, part = left < sizeof words ? left : sizeof words;

        for (uint32_t i = 0; i < part; i++) {
            ((uint8_t *)words)[i] = data[done + i];
        }
        failed = ((rom_transfer *)ROM_SPIFLASH_WRITE)(SPK_STORAGE_BASE + offset + done, words,
                                                      (int32_t)part);
    }
    return failed;
}

int spk_board_storage_read(uint32_t offset, void *data, uint32_t size) {
    uint32_t words[CHUNK_WORDS];
    uint8_t *out = data;
    const uint32_t end = offset + size;
    int failed = 0;

    for (uint32_t at = offset & ~3u; at < end && !failed; at += sizeof words) {
        const uint32_t left = (end - at + 3) & ~3u,
                       part = left < sizeof words ? left : sizeof words;

        failed = ((rom_transfer *)ROM_SPIFLASH_READ)(SPK_STORAGE_BASE + at, words, (int32_t)part);
        for (uint32_t i = 0; i < part; i++) {
            if (at + i >= offset && at + i < end) {
                out[at + i - offset] = ((uint8_t *)words)[i];
            }
        }
    }
    return failed;
}
