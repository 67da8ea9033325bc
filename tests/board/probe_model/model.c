// A model that does to its board what the tests ask for, in place of an inference.
// SPDX-License-Identifier: Apache-2.0
#include "spk_board.h"
#include "spk_model.h"

enum command {
    NOTHING = 0,
    LOOP = 1,     // argument rounds of two instructions each; also answers when it began;
                  // PROBE_SLOW: of 402, which register models execute 100 times as fast
    ILLEGAL = 2,  // an instruction that does not exist
    LOAD = 3,     // from the address in argument
    STORE = 4,    // to the address in argument
    OVERFLOW = 5, // recursion without end
    STACK = 6,    // argument bytes of stack
    BREAKPOINT = 7,
    DIVIDE = 8, // argument * 2^32 / 7: 64 bits, which takes the compiler's own library
    WASTE = 9,  // argument rounds of arithmetic on memory
    FLOAT = 10, // argument rounds of float arithmetic: bits of the sum, and the sum as an integer
    FUSED = 11, // argument rounds of a fused multiply-add: bits of the sum
};

#ifdef PROBE_SLOW
#define NOPS "400"
#else
#define NOPS "0"
#endif

enum { STACK_PIECE = 512, WASTE_BYTES = 256 };

static uint32_t command[2];                   // (2,) input: enum command, argument
static uint32_t result[3];                    // (3,) output: see below
static uint32_t initialised[2] = {0x1234, 7}; // (2,) state, from flash at each boot
static uint32_t saturations;
static uint8_t memory[WASTE_BYTES];

// (100,); 4..7 are `csrr a0, minstret` and 8..11 `csrw pmpcfg0, a0`, as constants may be
const uint8_t spk_const_weights[100] = {1, 2, 3, 4, 0x73, 0x25, 0x20, 0xB0, 0x73, 0x10, 0x05, 0x3A};

static const uint8_t sha[32] = {0xB0, 0xA2, 0xD5};

#define ANY32 INT32_MIN, INT32_MAX // a host may write

static const struct spk_tensor tensors[] = {
    {"command", command, sizeof command, SPK_U32, SPK_INPUT, SPK_NO_OP, 1, {2}, 1.0f, 0, ANY32},
    {"result", result, sizeof result, SPK_U32, SPK_OUTPUT, 0, 1, {3}, 1.0f, 0, ANY32},
    {"initialised", initialised, sizeof initialised, SPK_U32, SPK_STATE, 0, 1, {2}, 1.0f, 0, ANY32},
};

// The recursion is what is tested; the volatile read keeps compilers from seeing through it, and
// the pointers, which are set at run time, the bound of the stack.
static uint32_t (*volatile dig_again)(volatile uint32_t *depth);
static uint32_t (*volatile use_again)(uint32_t bytes);

static uint32_t __attribute__((noinline)) dig(volatile uint32_t *depth) {
    volatile uint32_t here = *depth + 1;
    return here ? dig_again(&here) + here : 0;
}

static uint32_t __attribute__((noinline)) use_stack(uint32_t bytes) {
    volatile uint8_t room[STACK_PIECE];
    const uint32_t first = STACK_PIECE - (bytes < STACK_PIECE ? bytes : STACK_PIECE);
    for (uint32_t i = first; i < STACK_PIECE; i++) {
        room[i] = (uint8_t)i;
    }
    const uint32_t rest = bytes > STACK_PIECE ? use_again(bytes - STACK_PIECE) : 0;
    return first < STACK_PIECE ? room[first] + rest : rest;
}

static uint32_t waste(uint32_t rounds) {
    uint32_t hash = 1;
    for (uint32_t round = 0; round < rounds; round++) {
        for (uint32_t i = 0; i < WASTE_BYTES; i++) {
            hash = hash * 31 + memory[i];
            if (hash & 4) {
                hash ^= round;
            }
            memory[i] = (uint8_t)hash;
        }
    }
    return hash;
}

// Every operation that a core without an FPU takes from the compiler's library. The product is
// rounded before it is added: a contracted multiply-add would give other bits.
static void calculate(uint32_t rounds) {
    union {
        float real;
        uint32_t bits;
    } sum = {0.1f};

    for (uint32_t i = 1; i <= rounds; i++) {
        const float x = (float)(int32_t)(i * 2654435761u) * 0x1p-31f;
        sum.real = sum.real * 0.75f + x;
        if (sum.real > 1.0f || sum.real < -1.0f) {
            sum.real = 1.0f / sum.real;
        }
    }
    result[0] = sum.bits;
    result[1] = (uint32_t)(int32_t)(sum.real * 1000000.0f);
}

// The product is exact, so that a core without the instruction gives the same bits.
static void fuse(uint32_t rounds) {
    union {
        float real;
        uint32_t bits;
    } sum = {0.1f};

    for (uint32_t i = 1; i <= rounds; i++) {
        const float x = (float)(int32_t)(i * 2654435761u);
#if defined(__riscv_flen) || defined(__ARM_FEATURE_FMA)
        sum.real = __builtin_fmaf(sum.real, 0.5f, x);
#else
        sum.real = sum.real * 0.5f + x;
#endif
    }
    result[0] = sum.bits;
}

static void loop(uint32_t rounds) {
#ifdef __riscv
    __asm__ volatile("1: .rept " NOPS "\n nop\n .endr\n addi %0, %0, -1\n bnez %0, 1b"
                     : "+r"(rounds));
#elif defined(__arm__)
    __asm__ volatile(".syntax unified\n 1: .rept " NOPS "\n nop\n .endr\n subs %0, %0, #1\n bne 1b"
                     : "+l"(rounds)::"cc");
#else
    for (volatile uint32_t i = 0; i < rounds; i++) {
    }
#endif
}

static void obey(enum command what, uint32_t argument) {
    volatile uint32_t *address = (volatile uint32_t *)(uintptr_t)argument;
    volatile uint32_t depth = 0;

    switch (what) {
    case LOOP: {
        const uint32_t before = spk_board_ticks();
        loop(argument);
        result[0] = spk_board_ticks() - before;
        result[1] = before;
        break;
    }
    case ILLEGAL:
#ifdef __riscv
        __asm__ volatile(".word 0xFFFFFFFF");
#else
        __builtin_trap();
#endif
        break;
    case LOAD:
        result[0] = *address;
        break;
    case STORE:
        *address = 1;
        break;
    case OVERFLOW:
        result[0] = dig(&depth);
        break;
    case STACK:
        result[0] = use_stack(argument);
        break;
    case BREAKPOINT:
#ifdef __riscv
        __asm__ volatile("ebreak");
#elif defined(__arm__)
        __asm__ volatile("bkpt 0");
#endif
        break;
    case DIVIDE: {
        const uint64_t quotient = ((uint64_t)argument << 32) / (initialised[1] | 0);
        result[0] = (uint32_t)quotient;
        result[1] = (uint32_t)(quotient >> 32);
        break;
    }
    case WASTE:
        result[0] = waste(argument);
        break;
    case FLOAT:
        calculate(argument);
        break;
    case FUSED:
        fuse(argument);
        break;
    case NOTHING:
    default:
        break;
    }
}

void spk_model_start(void) {
    saturations = 0;
    dig_again = dig;
    use_again = use_stack;
    result[2] = spk_const_weights[command[1] % sizeof spk_const_weights];
    obey((enum command)command[0], command[1]);
    SPK_PROBE(0, 0);
}

void spk_model_step(uint32_t t) {
    (void)t;
}

void spk_model_finish(void) {
}

const struct spk_model spk_model = {
    .name = "probe",
    .package_sha256 = sha,
    .tensors = tensors,
    .tensor_count = sizeof tensors / sizeof tensors[0],
    .steps = 1,
    .arena_bytes = sizeof memory,
    .saturations = &saturations,
};
