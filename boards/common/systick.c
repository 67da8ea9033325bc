// Ticks from SysTick, which counts 24 bits of the core's clock down; its exception counts the rest.
// SPDX-License-Identifier: Apache-2.0
#include "arm_m.h"
#include "spk_board.h"

enum {
    SYST_CSR = 0x010,
    SYST_RVR = 0x014,
    SYST_CVR = 0x018,
    CSR_ON = 7, // counts, with its exception, from the core's clock
    SCB_ICSR = 0xD04,
    ICSR_PENDSTCLR = 1 << 25,
    ICSR_PENDSTSET = 1 << 26,
    BITS = 24,
    MASK = (1 << BITS) - 1,
};

static volatile uint32_t rounds; // of the counter, since it was cleared
static uint32_t passed;          // ticks until then

void spk_arm_systick(void);

// Comes as the counter reaches 0, before other interrupts.
SPK_RAMFUNC void spk_arm_systick(void) {
    rounds++;
}

void spk_systick_start(void) {
    reg_write(SPK_SCS + SYST_RVR, MASK);
    reg_write(SPK_SCS + SYST_CVR, 0);
    reg_write(SPK_SCS + SYST_CSR, CSR_ON);
}

SPK_RAMFUNC uint32_t spk_core_ticks(void) {
    uint32_t high, low;
    do {
        high = rounds;
        low = (0u - reg_read(SPK_SCS + SYST_CVR)) &
              MASK; // 0 as it reaches 0: that is the next round's
    } while (high != rounds);
    // Its exception may be held off: then a round that began waits to be counted.
    if (reg_read(SPK_SCS + SCB_ICSR) & ICSR_PENDSTSET && low <= MASK / 2) {
        high++;
    }
    return passed + (high << BITS | low);
}

// To clear the counter begins a period of its clock.
void spk_board_ticks_begin(void) {
    irq_off();
    passed = spk_core_ticks();
    reg_write(SPK_SCS + SYST_CVR, 0);
    reg_write(SPK_SCS + SCB_ICSR, ICSR_PENDSTCLR);
    rounds = 0;
    irq_on();
}
