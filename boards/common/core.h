// What the boards' C says of a core in a few instructions: registers of devices, interrupts, sleep.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_CORE_H
#define SPK_CORE_H

#include "spk_board.h"

#include <stdint.h>

// Code that runs while flash cannot be read. Where the core executes from the flash that the board
// writes, board.toml defines SPK_RAM_CODE, and start-up copies such code into RAM.
#ifdef SPK_RAM_CODE
#define SPK_TEXT_OF(line) #line
#define SPK_TEXT(line) SPK_TEXT_OF(line)
#define SPK_RAMFUNC                                                                                \
    __attribute__((section(".ramfunc." SPK_TEXT(__LINE__)), noinline)) // each its own
#else
#define SPK_RAMFUNC
#endif

static inline uint32_t reg_read(uint32_t address) {
    return *(volatile uint32_t *)address;
}

static inline void reg_write(uint32_t address, uint32_t value) {
    *(volatile uint32_t *)address = value;
}

// Bits of `mask` become those of `value`, the others stay.
static inline void reg_change(uint32_t address, uint32_t mask, uint32_t value) {
    reg_write(address, (reg_read(address) & ~mask) | value);
}

// Two words that hold a part's number, as bytes.
static inline void reg_read_id(uint32_t address, uint8_t id[8]) {
    for (uint32_t i = 0; i < 8; i++) {
        id[i] = (uint8_t)(reg_read(address + (i & 4)) >> 8 * (i & 3));
    }
}

// Four bytes as the word that a flash takes; code in RAM calls it.
static inline __attribute__((always_inline)) uint32_t word_of(const uint8_t *data) {
    return (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 |
           (uint32_t)data[3] << 24;
}

static inline void reg_set(uint32_t address, uint32_t mask) {
    reg_change(address, mask, mask);
}

static inline void reg_clear(uint32_t address, uint32_t mask) {
    reg_change(address, mask, 0);
}

// Answers 0 where the bits do not come: a crystal that does not start is no reason to hang. 131,072
// looks of at least six cycles: 4.9 ms at 160 MHz, more at the rates that parts begin with.
static inline int reg_await(uint32_t address, uint32_t mask, uint32_t value) {
    for (uint32_t left = 1u << 17; left; left--) {
        if ((reg_read(address) & mask) == value) {
            return 1;
        }
    }
    return 0;
}

#ifdef __arm__
static inline void irq_off(void) {
    __asm__ volatile("cpsid i" ::: "memory");
}

static inline void irq_on(void) {
    __asm__ volatile("cpsie i\n isb" ::: "memory");
}

// An interrupt ends it, even one that is held off.
static inline void core_sleep(void) {
    __asm__ volatile("dsb\n wfi" ::: "memory");
}
#else
enum { MSTATUS_MIE = 1 << 3, MIE_TIMER = 1 << 7, MIE_EXTERNAL = 1 << 11 };

static inline void irq_off(void) {
    __asm__ volatile("csrci mstatus, %0" ::"i"(MSTATUS_MIE) : "memory");
}

static inline void irq_on(void) {
    __asm__ volatile("csrsi mstatus, %0" ::"i"(MSTATUS_MIE) : "memory");
}

// An interrupt ends it, even one that is held off; interrupts are off. Where SPK_MTIME is RISC-V's
// mtime, of SPK_MTIME_HZ, and SPK_MTIMECMP its comparator, so do SPK_MTIME_WAKE_MS.
static inline void core_sleep(void) {
#ifdef SPK_MTIME
    const uint32_t high = reg_read(SPK_MTIME + 4); // first: a carry in between wakes at once
    const uint32_t now = reg_read(SPK_MTIME);
    const uint32_t then = now + (uint32_t)SPK_MTIME_HZ / 1000 * SPK_MTIME_WAKE_MS;

    reg_write(SPK_MTIMECMP, ~0u); // never in the past meanwhile
    reg_write(SPK_MTIMECMP + 4, high + (then < now));
    reg_write(SPK_MTIMECMP, then);
    __asm__ volatile("csrs mie, %0" ::"r"(MIE_TIMER) : "memory");
#endif
#ifndef SPK_NO_SLEEP
    __asm__ volatile("wfi" ::: "memory");
#endif
#ifdef SPK_MTIME
    __asm__ volatile("csrc mie, %0" ::"r"(MIE_TIMER) : "memory");
#endif
#ifdef SPK_WATCHDOG_WAKES
    spk_board_alive();
#endif
}
#endif

// The core's counter, with what interrupts took: spk_board_ticks() leaves that out. On RV32 an
// instruction, with SPK_TICK_CYCLES a cycle, with SPK_TICK_OWN what the board's own function says.
#if defined(__arm__) || defined(SPK_TICK_OWN)
uint32_t spk_core_ticks(void);
#else
static inline uint32_t spk_core_ticks(void) {
    uint32_t ticks;
#ifdef SPK_TICK_CYCLES
    __asm__ volatile("csrr %0, mcycle" : "=r"(ticks));
#else
    __asm__ volatile("csrr %0, minstret" : "=r"(ticks));
#endif
    return ticks;
}
#endif

#endif
