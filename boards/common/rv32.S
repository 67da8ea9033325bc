// Reset and trap entry of the RV32 boards. Memory is written here before any C runs: the stack is painted for its
// high-water mark, .data is copied from flash, .bss is cleared; .noinit is left as it was.
// SPDX-License-Identifier: Apache-2.0

    .equ RESET_FAULT, 2         // enum spk_reset_cause
    .equ STACK_PAINT, 0x5A5A5A5A // as SPK_STACK_PAINT in kept.h

    // Ticks of an interrupt that its two looks at the counter do not hold: instructions in front of
    // the first and behind the second, those included of which the core counts one.
#ifdef __riscv_32e
    .equ AROUND, 15 + 21
#elif defined(SPK_TRAP_GP)
    .equ AROUND, 24 + 28
#else
    .equ AROUND, 21 + 27
#endif

    .macro TICKS to
#if defined(SPK_TICK_OWN)
    li \to, 0 // the board's interrupt counts by itself
#elif defined(SPK_TICK_CYCLES)
    csrr \to, mcycle
#else
    csrr \to, minstret
#endif
    .endm

    .section .text.start, "ax", @progbits
    .globl _start
_start:
    csrci mstatus, 8 // MIE: a reset that is a jump comes with interrupts on
#ifdef SPK_BOOT_ALIAS // the core starts where flash is seen a second time: on to its own address
    lui t0, %hi(1f)
    addi t0, t0, %lo(1f)
    jr t0
1:
#endif
    .option push
    .option norelax
    la gp, __global_pointer$
    .option pop
    la sp, __stack_top
    la t0, trap
#ifdef SPK_TRAP_MODE // low bits of mtvec: the core's own controller of interrupts
    addi t0, t0, SPK_TRAP_MODE
#endif
    csrw mtvec, t0

#ifdef __riscv_flen
    li t0, 0x2000 // mstatus.FS = initial: floating point is on
    csrs mstatus, t0
    csrwi fcsr, 0 // round to nearest, ties to even
#endif

#ifndef SPK_NO_PMP
    // Flash is read and execute only, what lies between flash and RAM is a guard under the stack.
    la t0, __flash_start
    srli t0, t0, 2
    csrw pmpaddr0, t0
    la t0, __flash_end
    srli t0, t0, 2
    csrw pmpaddr1, t0
#ifdef SPK_STORAGE_MAPPED // storage follows the code, and is read where it lies
    li t0, (SPK_STORAGE_BASE + SPK_STORAGE_BYTES) >> 2
    csrw pmpaddr2, t0
    la t0, __ram_start
    srli t0, t0, 2
    csrw pmpaddr3, t0
    li t0, 0x88898D00 // entry 1: locked, up to pmpaddr1, X R; 2: locked, R; 3: locked, nothing
#else
    la t0, __ram_start
    srli t0, t0, 2
    csrw pmpaddr2, t0
    li t0, 0x00888D00 // entry 1: locked, up to pmpaddr1, X R; entry 2: locked, nothing
#endif
    csrw pmpcfg0, t0
#endif

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

#ifndef SPK_TRAP_ALIGN
#define SPK_TRAP_ALIGN 4 // bytes; cores with an interrupt controller of their own want more
#endif

#ifdef SPK_RAM_CODE
    .section .ramfunc, "ax", @progbits
#else
    .section .text.trap, "ax", @progbits
#endif
    .equ SAVED_BYTES, 80
    .globl spk_stack_of_trap // read by the build
    .equ spk_stack_of_trap, SAVED_BYTES
    .balign SPK_TRAP_ALIGN
    .type trap, @function
trap:
#ifdef SPK_TRAP_VECTORS // the core jumps into a table, by the number of the interrupt
    .option push
    .option norvc
    .rept 32
    j entry
    .endr
    .option pop
entry:
#endif
    csrw mscratch, t0
    csrr t0, mcause
    bltz t0, interrupt

    // Any exception is a fault: record it where a reset leaves it, then reset.
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

    // Keeps what C may change. Floats it does not touch: interrupts compute none.
interrupt:
    csrr t0, mscratch
    addi sp, sp, -SAVED_BYTES
    sw ra, 0(sp)
    sw t0, 4(sp)
    sw t1, 8(sp)
    sw t2, 12(sp)
    sw a0, 16(sp)
    sw a1, 20(sp)
    sw a2, 24(sp)
    sw a3, 28(sp)
    sw a4, 32(sp)
    sw a5, 36(sp)
#ifndef __riscv_32e
    sw a6, 40(sp)
    sw a7, 44(sp)
    sw t3, 48(sp)
    sw t4, 52(sp)
    sw t5, 56(sp)
    sw t6, 60(sp)
#endif
#ifdef SPK_TRAP_GP // what is interrupted may be a ROM that has gp for itself
    sw gp, 68(sp)
    .option push
    .option norelax
    la gp, __global_pointer$
    .option pop
#endif
    TICKS t0
    sw t0, 64(sp)
    call spk_rv32_interrupt
    TICKS t0
    lw t1, 64(sp)
    sub t0, t0, t1
    addi t0, t0, AROUND
    .option push
    .option norelax
    la t1, spk_irq_ticks
    .option pop
    lw t2, 0(t1)
    add t0, t0, t2
    sw t0, 0(t1)
#ifdef SPK_TRAP_GP
    lw gp, 68(sp)
#endif
    lw ra, 0(sp)
    lw t0, 4(sp)
    lw t1, 8(sp)
    lw t2, 12(sp)
    lw a0, 16(sp)
    lw a1, 20(sp)
    lw a2, 24(sp)
    lw a3, 28(sp)
    lw a4, 32(sp)
    lw a5, 36(sp)
#ifndef __riscv_32e
    lw a6, 40(sp)
    lw a7, 44(sp)
    lw t3, 48(sp)
    lw t4, 52(sp)
    lw t5, 56(sp)
    lw t6, 60(sp)
#endif
    addi sp, sp, SAVED_BYTES
    mret
