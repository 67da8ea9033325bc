// A program around a model's C library on a core of CH32V003's class: inputs come from a sensor,
// one after another; scores go to a serial line, with what the inference took. Freestanding.
// SPDX-License-Identifier: Apache-2.0
#include "mlp.h"

enum {
    SENSOR = 0x80600000, // memory that the emulator fills: the number of samples, then the samples
    UART = 0x10000000,
    FINISHER = 0x100000,
    PASS = 0x5555,
};
#define PAINT 0x5A5A5A5Au

extern uint32_t bss_end[], stack_top[];
int main(void);

// Runs first: .data, .bss, the painted stack.
__attribute__((naked, section(".text.start"), used)) void start(void) {
    __asm__("la sp, stack_top\n"
            "la a0, data_begin\n"
            "la a1, data_end\n"
            "la a2, data_load\n"
            "1: bgeu a0, a1, 2f\n"
            "lw a3, 0(a2)\n"
            "sw a3, 0(a0)\n"
            "addi a0, a0, 4\n"
            "addi a2, a2, 4\n"
            "j 1b\n"
            "2: la a0, bss_begin\n"
            "la a1, bss_end\n"
            "3: bgeu a0, a1, 4f\n"
            "sw zero, 0(a0)\n"
            "addi a0, a0, 4\n"
            "j 3b\n"
            "4: li a1, 0x5A5A5A5A\n"
            "5: bgeu a0, sp, 6f\n"
            "sw a1, 0(a0)\n"
            "addi a0, a0, 4\n"
            "j 5b\n"
            "6: j main\n");
}

static void put(const void *from, uint32_t bytes) {
    const uint8_t *at = from;
    while (bytes-- > 0) {
        *(volatile uint8_t *)UART = *at++;
    }
}

static uint32_t instructions(void) {
    uint32_t n;
    __asm__ volatile("csrr %0, minstret" : "=r"(n));
    return n;
}

int main(void) {
    int status = mlp_init();
    const volatile int8_t *sensor = (const volatile int8_t *)SENSOR;
    for (int32_t left = *sensor++; left > 0 && status == MLP_OK; left--) {
        int8_t *x = mlp_input_x();
        for (uint32_t i = 0; i < MLP_INPUT_X_BYTES; i++) {
            x[i] = *sensor++;
        }
        const uint32_t before = instructions();
        status = mlp_invoke();
        const uint32_t took = instructions() - before;
        put(mlp_output_linear_3(), MLP_OUTPUT_LINEAR_3_BYTES);
        put(&took, sizeof took);
    }
    const uint32_t *lowest = bss_end;
    while (*lowest == PAINT) {
        lowest++;
    }
    const uint32_t stack = (uint32_t)(stack_top - lowest) * 4;
    put(&stack, sizeof stack);
    *(volatile uint32_t *)FINISHER = PASS;
    for (;;) {
    }
}
