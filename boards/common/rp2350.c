// RP2350 (datasheet of build 2025-02), with either of its cores, at 150 MHz of a 12 MHz crystal;
// code is executed from flash, which its ROM erases and writes. SPDX-License-Identifier: Apache-2.0
#ifdef __arm__
#include "arm_m.h"
#else
#include "rv32.h"
#endif
#include "kept.h"
#include "uart.h"

enum {
    CLK_REF_CTRL = 0x40010030,
    CLK_REF_SELECTED = 0x40010038,
    CLK_SYS_CTRL = 0x4001003C,
    CLK_SYS_SELECTED = 0x40010044,
    CLK_PERI_CTRL = 0x40010048,
    PSM_WDSEL = 0x40018008,
    RESETS_RESET = 0x40020000,
    RESETS_DONE = 0x40020008,
    IO_BANK0_CTRL = 0x40028004, // eight bytes a pin
    PADS_BANK0 = 0x40038004,    // four bytes a pin
    XOSC_CTRL = 0x40048000,
    XOSC_STATUS = 0x40048004,
    XOSC_STARTUP = 0x4004800C,
    PLL_SYS_CS = 0x40050000,
    PLL_SYS_PWR = 0x40050004,
    PLL_SYS_FBDIV = 0x40050008,
    PLL_SYS_PRIM = 0x4005000C,
    WATCHDOG_CTRL = 0x400D8000,
    SYSINFO_CHIP_ID = 0x40000000,
    XOSC_ON = 0xFAB << 12 | 0xAA0, // 1 to 15 MHz
    XOSC_STARTUP_4_MS = 188,       // 256 cycles each
    REF_XOSC = 2,
    PLL_FBDIV_125 = 125,              // 12 MHz * 125 = 1500 MHz
    PLL_PRIM_5_2 = 5 << 16 | 2 << 12, // / 5 / 2
    PWR_PD = 1 << 0,
    PWR_POSTDIVPD = 1 << 3,
    PWR_VCOPD = 1 << 5,
    SYS_FROM_AUX = 1, // which is the PLL
    PERI_ON = 1 << 11,
    RESET_IO_BANK0 = 1 << 6,
    RESET_PADS_BANK0 = 1 << 9,
    RESET_PLL_SYS = 1 << 14,
    RESET_UART0 = 1 << 26,
    FUNCTION_UART = 2,
    PAD_UART = 1 << 6 | 1 << 4 | 1 << 1, // input on, 4 mA, Schmitt trigger; no longer isolated
    WDSEL_ALL_BUT_CLOCKS = 0x1FFFFF3,
    XIP_BASE = 0x10000000,
    PROGRAM_BYTES = 256,
};

// What the boot ROM looks for in the first 4 KB: one block that names the kind of image.
#ifdef __arm__
enum { IMAGE_TYPE = 0x1021 }; // executable, secure, Arm, RP2350
#else
enum { IMAGE_TYPE = 0x1101 }; // executable, RISC-V, RP2350
#endif

__attribute__((section(".image_def"), used)) static const uint32_t image_def[] = {
    0xFFFFDED3,                       // PICOBIN_BLOCK_MARKER_START
    IMAGE_TYPE << 16 | 1 << 8 | 0x42, // PICOBIN_BLOCK_ITEM_1BS_IMAGE_TYPE, one word
    1 << 8 | 0xFF,                    // PICOBIN_BLOCK_ITEM_2BS_LAST, behind one word of items
    0,                                // bytes to the next block: this is all
    0xAB123579,                       // PICOBIN_BLOCK_MARKER_END
};

const struct spk_board_info spk_board_info = {
    .isa = SPK_ISA, .tick_unit = SPK_TICK_CYCLE, .tick_hz = SPK_CORE_HZ};

const struct spk_board_storage spk_board_storage = {SPK_STORAGE_BYTES, SPK_STORAGE_PAGE};

static void out_of_reset(uint32_t what) {
    reg_clear(RESETS_RESET, what);
    reg_await(RESETS_DONE, what, what);
}

// The core runs on the crystal while the PLL is set.
static void clock_begin(void) {
    const uint32_t stable = 1u << 31, lock = 1u << 31;

    reg_write(XOSC_STARTUP, XOSC_STARTUP_4_MS);
    reg_write(XOSC_CTRL, XOSC_ON);
    if (!reg_await(XOSC_STATUS, stable, stable)) {
        return;
    }
    reg_clear(CLK_SYS_CTRL, SYS_FROM_AUX);
    reg_await(CLK_SYS_SELECTED, 3, 1);
    reg_change(CLK_REF_CTRL, 3, REF_XOSC);
    reg_await(CLK_REF_SELECTED, 0xF, 1 << REF_XOSC);
    reg_set(RESETS_RESET, RESET_PLL_SYS);
    out_of_reset(RESET_PLL_SYS);
    reg_change(PLL_SYS_CS, 0x3F, 1); // the crystal, undivided
    reg_write(PLL_SYS_FBDIV, PLL_FBDIV_125);
    reg_clear(PLL_SYS_PWR, PWR_PD | PWR_VCOPD);
    if (!reg_await(PLL_SYS_CS, lock, lock)) {
        return;
    }
    reg_write(PLL_SYS_PRIM, PLL_PRIM_5_2);
    reg_clear(PLL_SYS_PWR, PWR_POSTDIVPD);
    reg_write(CLK_SYS_CTRL, 0); // auxiliary source 0: the PLL
    reg_write(CLK_SYS_CTRL, SYS_FROM_AUX);
    reg_await(CLK_SYS_SELECTED, 3, 2);
    reg_write(CLK_PERI_CTRL, PERI_ON);
}

void spk_board_init(void) {
    spk_kept_begin();
    clock_begin();
    out_of_reset(RESET_IO_BANK0 | RESET_PADS_BANK0 | RESET_UART0);
    for (uint32_t pin = 0; pin < 2; pin++) {
        reg_write(PADS_BANK0 + 4 * pin, PAD_UART);
        reg_write(IO_BANK0_CTRL + 8 * pin, FUNCTION_UART);
    }
    spk_uart_start();
#ifdef __arm__
    spk_systick_start();
    spk_arm_listen();
#else
    __asm__ volatile("csrw 0x320, zero"); // mcountinhibit: counters stand still after a reset
    // MEIEA of Hazard3: the bits of 16 interrupts above, and which 16.
    __asm__ volatile("csrw 0xBE0, %0" ::"r"(1u << (16 + SPK_UART_IRQ % 16) | SPK_UART_IRQ / 16));
    spk_rv32_listen(MIE_EXTERNAL);
#endif
}

#ifndef __arm__
SPK_RAMFUNC void spk_rv32_interrupt(void) {
    spk_uart_receive();
}

_Noreturn void spk_rv32_reset(void) {
    const uint32_t trigger = 1u << 31;

    reg_write(PSM_WDSEL, WDSEL_ALL_BUT_CLOCKS);
    reg_write(WATCHDOG_CTRL, trigger);
    for (;;) {
    }
}
#endif

// The part's number lies in fuses that its ROM copies for nobody: the kind of chip stands for it.
void spk_board_unique_id(uint8_t id[8]) {
    const uint32_t chip = reg_read(SYSINFO_CHIP_ID);

    for (uint32_t i = 0; i < 8; i++) {
        id[i] = i < 4 ? (uint8_t)(chip >> 8 * i) : (uint8_t)"2350"[i - 4];
    }
}

// Functions of the ROM (datasheet, 5.4): their codes, and where it says how to look them up.
enum {
    ROM_CONNECT_INTERNAL_FLASH = 'I' | 'F' << 8,
    ROM_FLASH_EXIT_XIP = 'E' | 'X' << 8,
    ROM_FLASH_RANGE_ERASE = 'R' | 'E' << 8,
    ROM_FLASH_RANGE_PROGRAM = 'R' | 'P' << 8,
    ROM_FLASH_FLUSH_CACHE = 'F' | 'C' << 8,
    ROM_FLASH_ENTER_CMD_XIP = 'C' | 'X' << 8,
#ifdef __arm__
    ROM_LOOKUP_AT = 0x16,
    ROM_WANTED = 0x0004, // for the secure state of Arm
#else
    ROM_LOOKUP_AT = 0x7DFA,
    ROM_WANTED = 0x0001, // for RISC-V
#endif
    ERASE_BLOCK = 1 << 16,
    ERASE_BLOCK_COMMAND = 0xD8,
};

typedef void *rom_lookup(uint32_t code, uint32_t mask);
typedef void rom_plain(void);
typedef void rom_erase(uint32_t offset, uint32_t size, uint32_t block, uint8_t command);
typedef void rom_program(uint32_t offset, const uint8_t *data, uint32_t size);

struct rom {
    rom_plain *connect, *exit_xip, *flush, *enter_xip;
    rom_erase *erase;
    rom_program *program;
};

static struct rom rom_functions(void) {
    uintptr_t at = ROM_LOOKUP_AT;
    __asm__("" : "+r"(at)); // compilers take what lies near 0 for no object
    rom_lookup *const lookup = (rom_lookup *)(uintptr_t)*(const volatile uint16_t *)at;

    return (struct rom){
        (rom_plain *)lookup(ROM_CONNECT_INTERNAL_FLASH, ROM_WANTED),
        (rom_plain *)lookup(ROM_FLASH_EXIT_XIP, ROM_WANTED),
        (rom_plain *)lookup(ROM_FLASH_FLUSH_CACHE, ROM_WANTED),
        (rom_plain *)lookup(ROM_FLASH_ENTER_CMD_XIP, ROM_WANTED),
        (rom_erase *)lookup(ROM_FLASH_RANGE_ERASE, ROM_WANTED),
        (rom_program *)lookup(ROM_FLASH_RANGE_PROGRAM, ROM_WANTED),
    };
}

// From RAM, as is the interrupt: until enter_xip() nothing can be fetched from flash. `page` NULL:
// a page is erased.
SPK_RAMFUNC static void flash_change(const struct rom *rom, uint32_t offset, const uint8_t *page) {
    rom->connect();
    rom->exit_xip();
    if (page) {
        rom->program(offset, page, PROGRAM_BYTES);
    } else {
        rom->erase(offset, SPK_STORAGE_PAGE, ERASE_BLOCK, ERASE_BLOCK_COMMAND);
    }
    rom->flush();
    rom->enter_xip();
}

int spk_board_storage_erase(uint32_t offset) {
    const struct rom rom = rom_functions();

    flash_change(&rom, SPK_STORAGE_BASE - XIP_BASE + offset, 0);
    return 0;
}

// Flash is written 256 bytes at a time; those that stay FF are left as they are.
int spk_board_storage_write(uint32_t offset, const uint8_t *data, uint32_t size) {
    const struct rom rom = rom_functions();
    uint8_t page[PROGRAM_BYTES];
    const uint32_t from = offset % PROGRAM_BYTES;

    for (uint32_t i = 0; i < PROGRAM_BYTES; i++) {
        page[i] = i >= from && i - from < size ? data[i - from] : 0xFF;
    }
    flash_change(&rom, SPK_STORAGE_BASE - XIP_BASE + offset - from, page);
    return 0;
}

int spk_board_storage_read(uint32_t offset, void *data, uint32_t size) {
    const volatile uint8_t *flash = (const volatile uint8_t *)(SPK_STORAGE_BASE + offset);
    uint8_t *out = data;

    for (uint32_t i = 0; i < size; i++) {
        out[i] = flash[i];
    }
    return 0;
}
