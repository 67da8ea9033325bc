// RP2350 with either of its cores, at 150 MHz of a 12 MHz crystal; code is executed from flash,
// which its ROM erases and writes. Registers as the datasheet (build 2025-02-20; section behind
// each group) and pico-sdk's hardware/regs/*.h name them. SPDX-License-Identifier: Apache-2.0
#ifdef __arm__
#include "arm_m.h"
#else
#include "rv32.h"
#endif
#include "kept.h"
#include "uart.h"
#include "watchdog.h"

enum {
    // CLOCKS, 8.1
    CLK_REF_CTRL = 0x40010030,
    CLK_REF_SELECTED = 0x40010038,
    CLK_SYS_CTRL = 0x4001003C,
    CLK_SYS_SELECTED = 0x40010044,
    CLK_PERI_CTRL = 0x40010048,
    REF_SRC_XOSC = 2,          // CLK_REF_CTRL_SRC
    SYS_SRC_AUX = 1,           // CLK_SYS_CTRL_SRC; auxiliary source 0 is PLL_SYS
    PERI_ENABLE = 1 << 11,     // CLK_PERI_CTRL_ENABLE; auxiliary source 0 is clk_sys
    PSM_WDSEL = 0x40018008,    // PSM, 7.4
    RESETS_RESET = 0x40020000, // RESETS, 7.5
    RESETS_DONE = 0x40020008,
    RESET_IO_BANK0 = 1 << 6,
    RESET_PADS_BANK0 = 1 << 9,
    RESET_PLL_SYS = 1 << 14,
    RESET_UART0 = 1 << 26,
    IO_BANK0_CTRL = 0x40028004, // GPIO0_CTRL, 9.11: eight bytes a pin
    FUNCSEL_UART = 2,
    PADS_BANK0_GPIO0 = 0x40038004,     // 9.11: four bytes a pin
    PAD_TX = 1 << 6 | 1 << 4 | 1 << 1, // IE, DRIVE 4 mA, SCHMITT; ISO, bit 8, is cleared
    PAD_RX = PAD_TX | 1 << 3,          // PUE: silence where no probe is plugged in
    // XOSC, 8.2
    XOSC_CTRL = 0x40048000,
    XOSC_STATUS = 0x40048004,
    XOSC_STARTUP = 0x4004800C,
    XOSC_ON = 0xFAB << 12 | 0xAA0, // ENABLE; FREQ_RANGE 1 to 15 MHz
    XOSC_STARTUP_4_MS = 188,       // 256 cycles each
    // PLL, 8.6
    PLL_SYS_CS = 0x40050000,
    PLL_SYS_PWR = 0x40050004,
    PLL_SYS_FBDIV_INT = 0x40050008,
    PLL_SYS_PRIM = 0x4005000C,
    CS_REFDIV = 0x3F,
    FBDIV_125 = 125,              // 12 MHz * 125 = 1500 MHz (750 to 1600 MHz)
    PRIM_5_2 = 5 << 16 | 2 << 12, // POSTDIV1, POSTDIV2: / 5 / 2 = 150 MHz
    PWR_PD = 1 << 0,
    PWR_POSTDIVPD = 1 << 3,
    PWR_VCOPD = 1 << 5,
    WATCHDOG_CTRL = 0x400D8000,     // 12.9
    WDSEL_ALL_BUT_COLD = 0x1FFFFFE, // as the ROM resets: all but PROC_COLD, what debuggers hold
    OTP_CHIPID0 = 0x40130000,       // OTP_DATA, 13.10: rows CHIPID0 to 3, 16 bits each
    QMI_M0_TIMING = 0x400D000C,     // 12.14
    QMI_M0_RFMT = 0x400D0010,
    QMI_M0_RCMD = 0x400D0014,
    SIO_MTIME_CTRL = 0xD00001A4, // 3.1.8
    MTIME_EN = 1 << 0,
    MTIME_FULLSPEED = 1 << 1, // counts clk_sys
    MCOUNTINHIBIT = 0x320,    // Hazard3, 3.8
    MEIEA = 0xBE0,            // Hazard3, 3.8: enables of 16 interrupts at a time
    XIP_BASE = 0x10000000,
    PROGRAM_BYTES = 256,
};

// What the boot ROM looks for in the first 4 KB (datasheet, 5.9.5): one block that names the kind
// of image. It holds neither VECTOR_TABLE nor ENTRY_POINT: Arm's vectors, RISC-V's first
// instruction are what the image begins with.
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
    reg_clear(CLK_SYS_CTRL, SYS_SRC_AUX);
    reg_await(CLK_SYS_SELECTED, 3, 1);
    reg_change(CLK_REF_CTRL, 3, REF_SRC_XOSC);
    reg_await(CLK_REF_SELECTED, 0xF, 1 << REF_SRC_XOSC);
    reg_set(RESETS_RESET, RESET_PLL_SYS);
    out_of_reset(RESET_PLL_SYS);
    reg_change(PLL_SYS_CS, CS_REFDIV, 1); // the crystal, undivided
    reg_write(PLL_SYS_FBDIV_INT, FBDIV_125);
    reg_clear(PLL_SYS_PWR, PWR_PD | PWR_VCOPD);
    if (!reg_await(PLL_SYS_CS, lock, lock)) {
        return;
    }
    reg_write(PLL_SYS_PRIM, PRIM_5_2);
    reg_clear(PLL_SYS_PWR, PWR_POSTDIVPD);
    reg_write(CLK_SYS_CTRL, 0); // auxiliary source 0: the PLL
    reg_write(CLK_SYS_CTRL, SYS_SRC_AUX);
    reg_await(CLK_SYS_SELECTED, 3, 2);
    reg_write(CLK_PERI_CTRL, PERI_ENABLE);
}

void spk_board_init(void) {
    spk_kept_begin();
    spk_watchdog_begin();
    clock_begin();
    out_of_reset(RESET_IO_BANK0 | RESET_PADS_BANK0 | RESET_UART0);
    spk_uart_start();
    reg_write(IO_BANK0_CTRL, FUNCSEL_UART);     // GPIO0: UART0 TX
    reg_write(IO_BANK0_CTRL + 8, FUNCSEL_UART); // GPIO1: UART0 RX
    reg_write(PADS_BANK0_GPIO0, PAD_TX);        // last: pads are isolated until then
    reg_write(PADS_BANK0_GPIO0 + 4, PAD_RX);
#ifdef __arm__
    spk_systick_start();
    spk_arm_listen();
#else
    __asm__ volatile("csrw %0, zero" ::"i"(MCOUNTINHIBIT)); // a reset leaves counters inhibited
    // 16 interrupts' bits above, and which 16 below.
    __asm__ volatile("csrw %0, %1" ::"i"(MEIEA),
                     "r"(1u << (16 + SPK_UART_IRQ % 16) | SPK_UART_IRQ / 16));
    reg_write(SIO_MTIME_CTRL, MTIME_EN | MTIME_FULLSPEED);
    spk_rv32_listen(MIE_EXTERNAL);
#endif
}

// Arm's own request (SYSRESETREQ) would leave peripherals and clocks as they are.
#ifdef __arm__
void spk_arm_before_reset(void) {
#else
SPK_RAMFUNC void spk_rv32_interrupt(void) {
    spk_uart_receive();
}

_Noreturn void spk_rv32_reset(void) {
#endif
    const uint32_t trigger = 1u << 31;

    reg_write(PSM_WDSEL, WDSEL_ALL_BUT_COLD);
    reg_write(WATCHDOG_CTRL, trigger);
    for (;;) {
    }
}

void spk_board_unique_id(uint8_t id[8]) {
    reg_read_id(OTP_CHIPID0, id);
}

// Functions of the ROM: codes (datasheet, 5.4.8) and where it says how to look them up (5.4.1).
// Pointers at known addresses are of 16 bits in silicon A2, of 32 bits in later ones.
enum {
    ROM_CONNECT_INTERNAL_FLASH = 'I' | 'F' << 8,
    ROM_FLASH_EXIT_XIP = 'E' | 'X' << 8,
    ROM_FLASH_RANGE_ERASE = 'R' | 'E' << 8,
    ROM_FLASH_RANGE_PROGRAM = 'R' | 'P' << 8,
    ROM_FLASH_FLUSH_CACHE = 'F' | 'C' << 8,
    ROM_FLASH_ENTER_CMD_XIP = 'C' | 'X' << 8,
    ROM_VERSION = 0x13,
    ROM_VERSION_A2 = 2,
#ifdef __arm__
    ROM_TABLE = 0x14,    // the lookup's pointer is the second
    ROM_WANTED = 0x0004, // RT_FLAG_FUNC_ARM_SEC
#else
    ROM_ENTRY = 0x7DFC,  // the lookup's pointer is the last before it
    ROM_WANTED = 0x0001, // RT_FLAG_FUNC_RISCV
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
    uintptr_t rom = 0;
    __asm__("" : "+r"(rom)); // compilers take what lies near 0 for no object
    const uint32_t width = *(const volatile uint8_t *)(rom + ROM_VERSION) == ROM_VERSION_A2 ? 2 : 4;
#ifdef __arm__
    const uintptr_t at = rom + ROM_TABLE + width;
#else
    const uintptr_t at = rom + ROM_ENTRY - width;
#endif
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

// From RAM, as is the interrupt: until enter_xip() nothing can be fetched from flash. It leaves the
// slowest way to read; what the ROM found at the start to be the fastest is put back. `page` NULL:
// a page is erased.
SPK_RAMFUNC static void flash_change(const struct rom *rom, uint32_t offset, const uint8_t *page) {
    const uint32_t timing = reg_read(QMI_M0_TIMING);
    const uint32_t format = reg_read(QMI_M0_RFMT), command = reg_read(QMI_M0_RCMD);

    rom->connect();
    rom->exit_xip();
    if (page) {
        rom->program(offset, page, PROGRAM_BYTES);
    } else {
        rom->erase(offset, SPK_STORAGE_PAGE, ERASE_BLOCK, ERASE_BLOCK_COMMAND);
    }
    rom->flush();
    rom->enter_xip();
    reg_write(QMI_M0_TIMING, timing);
    reg_write(QMI_M0_RFMT, format);
    reg_write(QMI_M0_RCMD, command);
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
