// What boards/ch32v003/main.c wants of a part, of QEMU's `virt` machine: inputs are memory that the
// emulator fills, instructions are counted. SPDX-License-Identifier: Apache-2.0
#include "part.h"

enum {
    SENSOR = 0x80600000, // the number of samples, then the samples
    UART = 0x10000000,
    FINISHER = 0x100000,
    PASS = 0x5555,
};

static const volatile uint8_t *next;
static uint32_t left;
static uint32_t ends; // the next write is the last

void part_begin(void) {
    next = (const volatile uint8_t *)SENSOR;
    left = *next++;
}

int part_read(void *to, uint32_t bytes) {
    uint8_t *at = to;

    if (left == 0) {
        ends = 1;
        return 0;
    }
    left--;
    while (bytes-- > 0) {
        *at++ = *next++;
    }
    return 1;
}

void part_write(const void *from, uint32_t bytes) {
    const uint8_t *at = from;

    while (bytes-- > 0) {
        *(volatile uint8_t *)UART = *at++;
    }
    if (ends) {
        *(volatile uint32_t *)FINISHER = PASS;
    }
}

uint32_t part_ticks(void) {
    uint32_t n;

    __asm__ volatile("csrr %0, minstret" : "=r"(n));
    return n;
}
