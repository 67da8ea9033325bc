// Cortex-M from M0 to M55: vector table, startup, faults, reset, sleep. The stack is painted for
// its high-water mark, .data is copied from flash, .bss is cleared; .noinit is left as it was.
// SPDX-License-Identifier: Apache-2.0
#include "arm_m.h"
#include "kept.h"
#include "spk_agent.h"
#include "uart.h"

enum {
    NVIC_ISER = 0x100,
    NVIC_IPR = 0x400,
    SCB_VTOR = 0xD08,
    SCB_AIRCR = 0xD0C,
    SCB_SHCSR = 0xD24,
    SCB_CFSR = 0xD28,
    SCB_HFSR = 0xD2C,
    SCB_MMFAR = 0xD34,
    SCB_BFAR = 0xD38,
    SCB_CPACR = 0xD88,
    MPU_CTRL = 0xD94,
    MPU_RNR = 0xD98,
    MPU_RBAR = 0xD9C,
    MPU_RASR = 0xDA0, // RLAR from v8-M on
    MPU_MAIR0 = 0xDC0,
    AIRCR_RESET = 0x05FA0004,
    SHCSR_FAULTS = 7 << 16, // MemManage, BusFault and UsageFault by themselves
    CFSR_MMFAR_VALID = 1 << 7,
    CFSR_BFAR_VALID = 1 << 15,
    CPACR_FPU = 0xF << 20, // floating point and MVE
    MPU_ON = 5,            // the default map where no region says otherwise
    FRAME_PC = 6,          // word of the exception's stack frame
};

#define V7M (__ARM_ARCH >= 7)
#define V8M (__ARM_ARCH >= 8)

extern uint32_t __data_start[], __data_end[], __data_load[], __bss_start[], __bss_end[];
extern uint8_t __flash_start[], __flash_end[];

_Noreturn void spk_arm_start(void);
_Noreturn void spk_arm_record(const uint32_t *frame);
void spk_arm_fault(void);
void __attribute__((weak, alias("spk_arm_fault"))) spk_arm_systick(void);
void __attribute__((weak, alias("spk_arm_fault"))) spk_arm_nmi(void);

union vector {
    uint32_t *stack;
    void (*handler)(void);
};

// The only interrupt that is ever let through is the UART's.
enum { VECTORS = 16 + SPK_UART_IRQ + 1 };

static const union vector vectors[VECTORS] __attribute__((section(".vectors"), used)) = {
    [0] = {.stack = __stack_top},        [1] = {.handler = spk_arm_start},
    [2] = {.handler = spk_arm_nmi},      [3 ... 14] = {.handler = spk_arm_fault},
    [15] = {.handler = spk_arm_systick}, [16 ... VECTORS - 1] = {.handler = spk_uart_interrupt},
};

#if V7M
// The core fetches vectors while flash is being written, too: there they are read from RAM. The
// table is aligned to its size, a power of two (128 words are enough for interrupts up to 111).
#ifdef SPK_RAM_CODE
static union vector active[VECTORS] __attribute__((aligned(512)));
_Static_assert(VECTORS <= 128, "vectors of 512 bytes at the most");
#else
#define active vectors
#endif

static void place_vectors(void) {
#ifdef SPK_RAM_CODE
    for (uint32_t i = 0; i < VECTORS; i++) {
        active[i] = vectors[i];
    }
#endif
    reg_write(SPK_SCS + SCB_VTOR, (uint32_t)(uintptr_t)active);
}
#endif

#if V7M
#if !V8M
// Of RASR: attributes, rights, size. Without a word on caches a region is strongly ordered, and
// words that lie across its words fault.
enum { CACHED = 1 << 17, NOT_CACHED = 1 << 19, ALL = 3 << 24, READ_ONLY = 6 << 24, XN = 1 << 28 };

// Of 2^n bytes, or of what is a part of so many.
static inline uint32_t size_of(uint32_t bytes) {
    return (31 - (uint32_t)__builtin_clz(bytes - 1)) << 1 | 1;
}

// Bits in which addresses of a range differ: the region that holds it is 2^n bytes, aligned to
// that.
static inline uint32_t span(uint32_t first, uint32_t last) {
    return 0xFFFFFFFFu >> __builtin_clz(first ^ last);
}
#endif

static void mpu_region(uint32_t number, uint32_t base, uint32_t attributes) {
    reg_write(SPK_SCS + MPU_RNR, number);
    reg_write(SPK_SCS + MPU_RBAR, base);
    reg_write(SPK_SCS + MPU_RASR, attributes);
}
#endif

// Flash is read and execute only, so that a store through a null pointer is a fault too. What else
// lies below the RAM is a guard under the stack: v8-M faults there by itself.
static void protect(void) {
#if V7M
    const uint32_t first = (uint32_t)(uintptr_t)__flash_start;
    const uint32_t last = (uint32_t)(uintptr_t)__flash_end - 1;
#if V8M
    reg_write(SPK_SCS + MPU_MAIR0, 0x44); // normal memory, not cached
    mpu_region(0, first | 2 << 1, (last & ~31u) | 1);
#else
    // A flash of 2^n bytes, over 2^29 bytes of which it is a part; the later region counts.
    mpu_region(0, 0, XN | size_of(1u << 29));
    const uint32_t within = span(first, last); // a boot loader's slot begins anywhere
    mpu_region(1, first & ~within, READ_ONLY | CACHED | size_of(within));
#ifdef SPK_FACTORY_BASE // 64 KB that hold what the factory wrote: the part's number
    mpu_region(2, SPK_FACTORY_BASE, XN | READ_ONLY | CACHED | size_of(1u << 16));
#endif
#ifdef SPK_STORAGE_MAPPED // a part of the flash, written by stores
    mpu_region(3, SPK_STORAGE_BASE, XN | ALL | NOT_CACHED | size_of(SPK_STORAGE_BYTES));
#endif
#endif
    reg_write(SPK_SCS + MPU_CTRL, MPU_ON);
    __asm__ volatile("dsb\n isb" ::: "memory");
#endif
}

_Noreturn void spk_arm_start(void) {
#if V7M
    reg_write(SPK_SCS + SCB_CPACR, CPACR_FPU);
    reg_write(SPK_SCS + SCB_SHCSR, SHCSR_FAULTS);
    __asm__ volatile("dsb\n isb" ::: "memory");
#endif
    // Volatile, or the compiler makes calls of these loops, whose frames would be painted over.
    volatile uint32_t *word;
    const volatile uint32_t *from = __data_load;
    uint32_t *stack;

    __asm__ volatile("mov %0, sp" : "=r"(stack));
    for (word = __stack_bottom; word < stack; word++) {
        *word = SPK_STACK_PAINT;
    }
    for (word = __data_start; word < __data_end; word++) {
        *word = *from++;
    }
    for (word = __bss_start; word < __bss_end; word++) {
        *word = 0;
    }
#if V7M
    place_vectors();
#endif
    protect();
    spk_board_init();
    spk_agent_main();
}

// Any exception but SysTick and the UART is a fault. Where the stack overflowed the core could save
// no frame: then the handler takes the stack from its top again, and the address of the instruction
// is lost.
__attribute__((naked)) void spk_arm_fault(void) {
    __asm__ volatile(".syntax unified\n"
                     "mrs r0, msp\n"
                     "ldr r1, =__stack_bottom\n"
                     "cmp r0, r1\n"
                     "bhs 1f\n"
                     "ldr r1, =__stack_top\n"
                     "msr msp, r1\n"
                     "movs r0, #0\n"
                     "1: ldr r1, =spk_arm_record\n"
                     "bx r1\n"
                     ".ltorg\n");
}

__attribute__((weak)) void spk_arm_before_reset(void) {
}

_Noreturn void spk_arm_reset(enum spk_reset_cause cause) {
    spk_board_kept.cause = cause;
    spk_arm_before_reset();
    __asm__ volatile("dsb" ::: "memory");
    reg_write(SPK_SCS + SCB_AIRCR, AIRCR_RESET);
    for (;;) {
    }
}

// The cause is CFSR; HFSR where that is 0; the exception's number where the core has neither.
_Noreturn void spk_arm_record(const uint32_t *frame) {
    struct spk_fault *fault = &spk_board_kept.fault;
    uint32_t cause;

    __asm__ volatile("mrs %0, ipsr" : "=r"(cause));
    fault->address = 0;
#if V7M
    const uint32_t cfsr = reg_read(SPK_SCS + SCB_CFSR);
    if (cfsr) {
        cause = cfsr;
    } else if (reg_read(SPK_SCS + SCB_HFSR)) {
        cause = reg_read(SPK_SCS + SCB_HFSR);
    }
    if (cfsr & CFSR_MMFAR_VALID) {
        fault->address = reg_read(SPK_SCS + SCB_MMFAR);
    } else if (cfsr & CFSR_BFAR_VALID) {
        fault->address = reg_read(SPK_SCS + SCB_BFAR);
    }
#endif
    fault->cause = cause;
    fault->pc = frame ? frame[FRAME_PC] : 0;
    spk_arm_reset(SPK_RESET_FAULT);
}

_Noreturn void spk_board_reset(void) {
    spk_arm_reset(SPK_RESET_REQUEST);
}

void spk_arm_listen(void) {
    const uint32_t priority = SPK_SCS + NVIC_IPR + SPK_UART_IRQ / 4 * 4;

    reg_set(priority, 0xFFu << SPK_UART_IRQ % 4 * 8); // the last
    reg_write(SPK_SCS + NVIC_ISER + SPK_UART_IRQ / 32 * 4, 1u << SPK_UART_IRQ % 32);
    irq_on();
}
