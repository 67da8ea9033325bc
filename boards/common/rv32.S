// Reset and trap entry of the RV32 boards. Memory is written here before any C runs: the stack is painted for its
// high-water mark, .data is copied from flash, .bss is cleared; .noinit is left as it was.
// SPDX-License-Identifier: Apache-2.0

    .equ RESET_FAULT, 2         // enum spk_reset_cause
    .equ STACK_PAINT, 0x5A5A5A5A // as SPK_STACK_PAINT in kept.h

    .section .text.start, "ax", @progbits
    .globl _start
_start:
    .option push
    .option norelax
    la gp, __global_pointer$
    .option pop
    la sp, __stack_top
    la t0, trap
    csrw mtvec, t0

#ifdef __riscv_flen
    li t0, 0x2000 // mstatus.FS = initial: floating point is on
    csrs mstatus, t0
    csrwi fcsr, 0 // round to nearest, ties to even
#endif

    // Flash is read and execute only, what lies between flash and RAM is a guard under the stack.
    la t0, __flash_start
    srli t0, t0, 2
    csrw pmpaddr0, t0
    la t0, __flash_end
    srli t0, t0, 2
    csrw pmpaddr1, t0
    la t0, __ram_start
    srli t0, t0, 2
    csrw pmpaddr2, t0
    li t0, 0x00888D00 // entry 1: locked, up to pmpaddr1, X R; entry 2: locked, nothing
    csrw pmpcfg0, t0

    la t0, __stack_bottom
    li t1, STACK_PAINT
1:  sw t1, 0(t0)
    addi t0, t0, 4
    bltu t0, sp, 1b

    la t0, __data_start
    la t1, __data_end
    la t2, __data_load
2:  bgeu t0, t1, 3f
    lw a0, 0(t2)
    sw a0, 0(t0)
    addi t0, t0, 4
    addi t2, t2, 4
    j 2b

3:  la t0, __bss_start
    la t1, __bss_end
4:  bgeu t0, t1, 5f
    sw zero, 0(t0)
    addi t0, t0, 4
    j 4b

5:  call spk_board_init
    call spk_agent_main
    // The agent does not return; if it does, that is a fault like another.

    // Any trap is a fault: record it where a reset leaves it, then reset.
    .balign 4
trap:
    la t0, spk_board_kept
    csrr t1, mcause
    sw t1, 12(t0)
    csrr t1, mepc
    sw t1, 16(t0)
    csrr t1, mtval
    sw t1, 20(t0)
    li t1, RESET_FAULT
    sw t1, 8(t0)
    la sp, __stack_top
    tail spk_rv32_reset // the board's own
