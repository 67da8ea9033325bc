// A core in Verilog inside of sim/rtl/machine.cpp: serial port, timer that counts cycles, reset
// line. The receiver is polled: the machine stands still while nothing is there.
// SPDX-License-Identifier: Apache-2.0
#include "rv32.h"

enum {
    UART_DATA = 0x10000000, // bit 31: nothing there
    UART_WAIT = 0x10000004, // a read is answered when a byte is there; no cycle passes meanwhile
    TIMER = 0x10001000,
    RESET = 0x10002000,
    RESET_WORD = 0x7777,
    BAD_ADDRESS = 0x10003000, // of the last access that failed
    MIE_BAD_ACCESS = 1 << 16, // of cores whose buses do not tell
};

// With SPK_COUNT_INSTRUCTIONS a tick is an instruction: what the core retires can be compared.
#ifdef SPK_COUNT_INSTRUCTIONS
enum { TICK_UNIT = SPK_TICK_INSTRUCTION };
#else
enum { TICK_UNIT = SPK_TICK_CYCLE };
#endif

const struct spk_board_info spk_board_info = {.isa = SPK_ISA, .tick_unit = TICK_UNIT, .tick_hz = 0};

volatile uint32_t spk_irq_ticks; // rv32.S adds to it; no interrupt returns here

void spk_board_init(void) {
    spk_kept_begin();
    __asm__ volatile("csrw mcountinhibit, zero"); // some cores begin with their counters stopped
    spk_rv32_listen(MIE_BAD_ACCESS);
}

// Only a failed access interrupts: a fault, some instructions late.
void spk_rv32_interrupt(void) {
    struct spk_fault *fault = &spk_board_kept.fault;
    __asm__ volatile("csrr %0, mcause" : "=r"(fault->cause));
    __asm__ volatile("csrr %0, mepc" : "=r"(fault->pc));
    fault->address = reg_read(BAD_ADDRESS);
    spk_board_kept.cause = SPK_RESET_FAULT;
    spk_rv32_reset();
}

uint32_t spk_board_rx(uint8_t *buffer, uint32_t size) {
    uint32_t n = 0;
    while (n < size) {
        const uint32_t data = reg_read(UART_DATA);
        if (data >> 31) {
            break;
        }
        buffer[n++] = (uint8_t)data;
    }
    return n;
}

void spk_board_tx(const uint8_t *buffer, uint32_t size) {
    while (size-- > 0) {
        reg_write(UART_DATA, *buffer++);
    }
}

void spk_board_idle(void) {
    reg_read(UART_WAIT);
}

uint32_t spk_board_ticks(void) {
#ifdef SPK_COUNT_INSTRUCTIONS
    return spk_core_ticks();
#else
    return reg_read(TIMER);
#endif
}

void spk_board_unique_id(uint8_t id[8]) {
    static const uint8_t name[8] = {'r', 't', 'l', ' ', 'c', 'o', 'r', 'e'};
    for (uint32_t i = 0; i < sizeof name; i++) {
        id[i] = name[i];
    }
}

_Noreturn void spk_rv32_reset(void) {
    reg_write(RESET, RESET_WORD);
    for (;;) {
    }
}
