// Longan Nano: GD32VF103CB at 108 MHz of its 8 MHz crystal. Registers as the GD32VF103 user
// manual 1.4 names them (chapters RCU, FMC, GPIO); those of the core as the Bumblebee core
// architecture manual does. SPDX-License-Identifier: Apache-2.0
#include "rv32.h"
#include "uart.h"
#include "watchdog.h"

enum {
    // RCU, reset and clock unit
    RCU_CTL = 0x40021000,
    RCU_CFG0 = 0x40021004,
    RCU_APB2EN = 0x40021018,
    RCU_CFG1 = 0x4002102C,
    FMC_WS = 0x40022000,
    GPIOA_CTL1 = 0x40010804, // pins 8 to 15, four bits each
    GPIOA_BOP = 0x40010810,  // bit operate: ones set
    UID = 0x1FFFF7E8,        // unique device ID, 96 bits
    ECLIC_CFG = 0x00,        // cliccfg
    ECLIC_MTH = 0x0B,        // mth: threshold
    ECLIC_INTIE = 0x1001,    // clicintie; a word an interrupt: pending, enabled, kind, level
    ECLIC_INTATTR = 0x1002,  // clicintattr
    ECLIC_INTCTL = 0x1003,   // clicintctl
    CSR_MCOUNTINHIBIT = 0x320,
    CSR_MMISC_CTL = 0x7D0,
    CSR_MTVT2 = 0x7EC,
    MMISC_CTL_NMI = 1 << 9, // a non-maskable interrupt enters by mtvec, too
    CTL_HXTALEN = 1 << 16,
    CTL_HXTALSTB = 1 << 17,
    CTL_PLLEN = 1 << 24,
    CTL_PLLSTB = 1 << 25,
    CFG1_PREDV0_2 = 1, // 8 MHz / 2
    CFG0_PLL_HXTAL = 1 << 16,
    CFG0_PLL_27 = 1 << 29 | 10 << 18, // 4 MHz * 27: of the crystal, or of half of its own 8 MHz
    CFG0_APB1_2 = 4 << 8,             // 54 MHz
    CFG0_PLL = 2,
    CFG0_SCSS_PLL = 2 << 2,
    WS_2 = 2,
    APB2EN_PA = 1 << 2,
    APB2EN_USART0 = 1 << 14,
    CTL1_PA9_PA10 = 0x8B0, // PA9 output of the USART, push-pull, 50 MHz; PA10 input, pulled ...
    BOP_PA10 = 1 << 10,    // ... up: silence where nothing is connected
};

// ECLIC's base; the timer unit's register that resets the part, and what it wants.
static const uint32_t eclic = 0xD2000000, msftrst = 0xD1000FF0, msftrst_key = 0x80000A5F;

const struct spk_board_info spk_board_info = {
    .isa = SPK_ISA, .tick_unit = SPK_TICK_CYCLE, .tick_hz = SPK_CORE_HZ};

static void clock_begin(void) {
    uint32_t source = 0;

    reg_set(RCU_CTL, CTL_HXTALEN);
    if (reg_await(RCU_CTL, CTL_HXTALSTB, CTL_HXTALSTB)) {
        source = CFG0_PLL_HXTAL;
    }
    reg_write(FMC_WS, WS_2);
    reg_write(RCU_CFG1, CFG1_PREDV0_2);
    reg_write(RCU_CFG0, source | CFG0_PLL_27 | CFG0_APB1_2);
    reg_set(RCU_CTL, CTL_PLLEN);
    if (reg_await(RCU_CTL, CTL_PLLSTB, CTL_PLLSTB)) {
        reg_set(RCU_CFG0, CFG0_PLL);
        reg_await(RCU_CFG0, 3 << 2, CFG0_SCSS_PLL);
    }
}

static void eclic_write(uint32_t offset, uint8_t value) {
    *(volatile uint8_t *)(eclic + offset) = value;
}

void spk_board_init(void) {
    spk_kept_begin();
    spk_watchdog_begin();
    clock_begin();
    reg_set(RCU_APB2EN, APB2EN_PA | APB2EN_USART0);
    reg_change(GPIOA_CTL1, 0xFF0, CTL1_PA9_PA10);
    reg_write(GPIOA_BOP, BOP_PA10);
    spk_uart_start();
    __asm__ volatile("csrw %0, zero" ::"i"(CSR_MCOUNTINHIBIT)); // mcycle counts
    __asm__ volatile("csrs %0, %1" ::"i"(CSR_MMISC_CTL), "r"(MMISC_CTL_NMI));
    __asm__ volatile("csrw %0, zero" ::"i"(CSR_MTVT2)); // interrupts enter where exceptions do
    eclic_write(ECLIC_CFG, 0); // all bits of clicintctl are priority, none is level
    eclic_write(ECLIC_MTH, 0);
    eclic_write(ECLIC_INTATTR + 4 * SPK_UART_IRQ, 0); // by level, not through the table
    eclic_write(ECLIC_INTCTL + 4 * SPK_UART_IRQ, 0xFF);
    eclic_write(ECLIC_INTIE + 4 * SPK_UART_IRQ, 1);
    irq_on();
}

SPK_RAMFUNC void spk_rv32_interrupt(void) {
    spk_uart_receive();
}

void spk_board_unique_id(uint8_t id[8]) {
    reg_read_id(UID, id);
}

_Noreturn void spk_rv32_reset(void) {
    reg_write(msftrst, msftrst_key);
    for (;;) {
    }
}
