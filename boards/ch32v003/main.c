// Firmware around a model's C library for a part of 16 KB of flash and 2 KB of RAM: inputs come,
// each is answered by the model's outputs and by the ticks that it took, and at the end, which only
// an emulator has, by the bytes of stack that were needed. Freestanding. The library is that of
// models/mnist_mlp, exported as `mlp`. SPDX-License-Identifier: Apache-2.0
#include "mlp.h"
#include "part.h"

#define PAINT 0x5A5A5A5Au

_Static_assert(MLP_ARENA_BYTES <= 1024, "half of the RAM is the rest's");
_Static_assert(MLP_CONSTANT_BYTES <= 10240, "flash holds code, too");

extern uint32_t bss_end[], stack_top[];
int main(void);

// Runs first, at the address that it is linked to or where the part shows its flash a second time:
// .data, .bss, the painted stack.
__attribute__((naked, section(".text.start"), used)) void _start(void) {
    __asm__("lui a0, %hi(0f)\n"
            "addi a0, a0, %lo(0f)\n"
            "jr a0\n"
            "0: la sp, stack_top\n"
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

int main(void) {
    part_begin();
    int status = mlp_init();
    while (status == MLP_OK && part_read(mlp_input_x(), MLP_INPUT_X_BYTES)) {
        const uint32_t before = part_ticks();
        status = mlp_invoke();
        const uint32_t took = part_ticks() - before;
        part_write(mlp_output_linear_3(), MLP_OUTPUT_LINEAR_3_BYTES);
        part_write(&took, sizeof took);
    }
    const uint32_t *lowest = bss_end;
    while (*lowest == PAINT) {
        lowest++;
    }
    const uint32_t stack = (uint32_t)(stack_top - lowest) * 4;
    part_write(&stack, sizeof stack);
    for (;;) {
    }
}
