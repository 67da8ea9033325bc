// The inner loop of conv2d.h for RV32 with a multiplier. It needs every register there is, more
// than compilers will give: from C they spill a third of the sums.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_CONV2D_RV32_H
#define SPK_CONV2D_RV32_H

#include <stdint.h>

// Adds the pair of sums in `sum` to `both`, and that of the second pixel to `high`.
#define SPK_RV32_PAIR(sum, both, high)                                                             \
    "add " both "," both "," sum "\n"                                                              \
    "add " sum "," sum ",x28\n"                                                                    \
    "srli " sum "," sum ",16\n"                                                                    \
    "add " high "," high "," sum "\n"

// Of a pair of weights, the bits that count.
#define SPK_RV32_KEEP(mask) "andi x24,x24," mask "\nandi x25,x25," mask "\n"

// One channel: its weights of two taps, x20 and x22 or both pairs of words.
#define SPK_RV32_FOUR(keep, k, both0, high0, both1, high1)                                         \
    "lb x24," k "(%[weights])\n"                                                                   \
    "lb x25,4+" k "(%[weights])\n" keep "mul x26,x20,x24\n"                                        \
    "mul x24,x21,x24\n"                                                                            \
    "mul x27,x22,x25\n"                                                                            \
    "mul x25,x23,x25\n"                                                                            \
    "add x26,x26,x27\n"                                                                            \
    "add x24,x24,x25\n" SPK_RV32_PAIR("x26", both0, high0) SPK_RV32_PAIR("x24", both1, high1)

#define SPK_RV32_TWO(keep, k, both, high)                                                          \
    "lb x24," k "(%[weights])\n"                                                                   \
    "lb x25,4+" k "(%[weights])\n" keep "mul x26,x20,x24\n"                                        \
    "mul x25,x22,x25\n"                                                                            \
    "add x26,x26,x25\n" SPK_RV32_PAIR("x26", both, high)

#define SPK_RV32_ZERO(a, b) "li " a ",0\nli " b ",0\n"
#define SPK_RV32_STORE(i, a, b) "sw " a "," i "(%[end])\nsw " b ",4+" i "(%[end])\n"

// clang-format off
#define SPK_RV32_SUMS_FOUR(keep)                                                                   \
    "sw x8,60(%[end])\nli x28,0x7F807F80\n"                                                        \
    SPK_RV32_ZERO("x1", "x5") SPK_RV32_ZERO("x6", "x7") SPK_RV32_ZERO("x8", "x9")                  \
    SPK_RV32_ZERO("x13", "x14") SPK_RV32_ZERO("x15", "x16") SPK_RV32_ZERO("x17", "x18")            \
    SPK_RV32_ZERO("x19", "x29") SPK_RV32_ZERO("x30", "x31")                                        \
    "1:\nlw x20,0(%[words])\nlw x21,4(%[words])\nlw x22,8(%[words])\nlw x23,12(%[words])\n"         \
    "addi %[words],%[words],16\n"                                                                  \
    SPK_RV32_FOUR(keep, "0", "x1", "x5", "x6", "x7")                                               \
    SPK_RV32_FOUR(keep, "1", "x8", "x9", "x13", "x14")                                             \
    SPK_RV32_FOUR(keep, "2", "x15", "x16", "x17", "x18")                                           \
    SPK_RV32_FOUR(keep, "3", "x19", "x29", "x30", "x31")                                           \
    "addi %[weights],%[weights],8\nbltu %[words],%[end],1b\n"                                      \
    SPK_RV32_STORE("0", "x1", "x5") SPK_RV32_STORE("8", "x6", "x7")                                \
    SPK_RV32_STORE("16", "x8", "x9") SPK_RV32_STORE("24", "x13", "x14")                            \
    SPK_RV32_STORE("32", "x15", "x16") SPK_RV32_STORE("40", "x17", "x18")                          \
    SPK_RV32_STORE("48", "x19", "x29")                                                             \
    "lw x8,60(%[end])\n" SPK_RV32_STORE("56", "x30", "x31")

#define SPK_RV32_SUMS_TWO(keep)                                                                    \
    "li x28,0x7F807F80\n"                                                                          \
    SPK_RV32_ZERO("x5", "x6") SPK_RV32_ZERO("x7", "x13") SPK_RV32_ZERO("x14", "x15")               \
    SPK_RV32_ZERO("x16", "x17")                                                                    \
    "1:\nlw x20,0(%[words])\nlw x22,4(%[words])\naddi %[words],%[words],8\n"                       \
    SPK_RV32_TWO(keep, "0", "x5", "x6") SPK_RV32_TWO(keep, "1", "x7", "x13")                       \
    SPK_RV32_TWO(keep, "2", "x14", "x15") SPK_RV32_TWO(keep, "3", "x16", "x17")                    \
    "addi %[weights],%[weights],8\nbltu %[words],%[end],1b\n"                                      \
    SPK_RV32_STORE("0", "x5", "x6") SPK_RV32_STORE("8", "x7", "x13")                               \
    SPK_RV32_STORE("16", "x14", "x15") SPK_RV32_STORE("24", "x16", "x17")
// clang-format on

// Four channels of four pixels, or of two: spk_conv2d_sums. x8 may be the frame pointer, which
// compilers do not give, or do not keep: it is kept where the last sum will be.
#define SPK_RV32_SUMS(name, keep)                                                                  \
    static inline void spk_conv2d_sums_four##name(const uint32_t *words, const int8_t *weights,    \
                                                  uint32_t *end) {                                 \
        register const uint32_t *from __asm__("x10") = words;                                      \
        register const int8_t *by __asm__("x11") = weights;                                        \
        register uint32_t *to __asm__("x12") = end;                                                \
        __asm__ volatile(SPK_RV32_SUMS_FOUR(keep)                                                  \
                         : [words] "+r"(from), [weights] "+r"(by)                                  \
                         : [end] "r"(to)                                                           \
                         : "memory", "x1", "x5", "x6", "x7", "x9", "x13", "x14", "x15", "x16",     \
                           "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26",   \
                           "x27", "x28", "x29", "x30", "x31");                                     \
    }                                                                                              \
    static inline void spk_conv2d_sums_two##name(const uint32_t *words, const int8_t *weights,     \
                                                 uint32_t *end) {                                  \
        register const uint32_t *from __asm__("x10") = words;                                      \
        register const int8_t *by __asm__("x11") = weights;                                        \
        register uint32_t *to __asm__("x12") = end;                                                \
        __asm__ volatile(SPK_RV32_SUMS_TWO(keep)                                                   \
                         : [words] "+r"(from), [weights] "+r"(by)                                  \
                         : [end] "r"(to)                                                           \
                         : "memory", "x5", "x6", "x7", "x13", "x14", "x15", "x16", "x17", "x20",   \
                           "x22", "x24", "x25", "x26", "x28");                                     \
    }

SPK_RV32_SUMS(, "")
SPK_RV32_SUMS(_upper4, SPK_RV32_KEEP("-16"))
SPK_RV32_SUMS(_upper2, SPK_RV32_KEEP("-64"))
SPK_RV32_SUMS(_upper1, SPK_RV32_KEEP("-128"))

// mask: -1, or spk_upper_mask.
static inline __attribute__((always_inline)) void
spk_conv2d_sums_rv32(const uint32_t *words, uint32_t pairs, const int8_t *weights, int32_t mask,
                     uint32_t *end) {
    if (mask == -16) {
        pairs == 2 ? spk_conv2d_sums_four_upper4(words, weights, end)
                   : spk_conv2d_sums_two_upper4(words, weights, end);
    } else if (mask == -64) {
        pairs == 2 ? spk_conv2d_sums_four_upper2(words, weights, end)
                   : spk_conv2d_sums_two_upper2(words, weights, end);
    } else if (mask == -128) {
        pairs == 2 ? spk_conv2d_sums_four_upper1(words, weights, end)
                   : spk_conv2d_sums_two_upper1(words, weights, end);
    } else {
        pairs == 2 ? spk_conv2d_sums_four(words, weights, end)
                   : spk_conv2d_sums_two(words, weights, end);
    }
}

#endif
