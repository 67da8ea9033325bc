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

// One channel: its weights of two taps, x20 and x22 or both pairs of words.
#define SPK_RV32_FOUR(k, both0, high0, both1, high1)                                               \
    "lb x24," k "(%[weights])\n"                                                                   \
    "lb x25,4+" k "(%[weights])\n"                                                                 \
    "mul x26,x20,x24\n"                                                                            \
    "mul x24,x21,x24\n"                                                                            \
    "mul x27,x22,x25\n"                                                                            \
    "mul x25,x23,x25\n"                                                                            \
    "add x26,x26,x27\n"                                                                            \
    "add x24,x24,x25\n" SPK_RV32_PAIR("x26", both0, high0) SPK_RV32_PAIR("x24", both1, high1)

#define SPK_RV32_TWO(k, both, high)                                                                \
    "lb x24," k "(%[weights])\n"                                                                   \
    "lb x25,4+" k "(%[weights])\n"                                                                 \
    "mul x26,x20,x24\n"                                                                            \
    "mul x25,x22,x25\n"                                                                            \
    "add x26,x26,x25\n" SPK_RV32_PAIR("x26", both, high)

#define SPK_RV32_ZERO(a, b) "li " a ",0\nli " b ",0\n"
#define SPK_RV32_STORE(i, a, b) "sw " a "," i "(%[end])\nsw " b ",4+" i "(%[end])\n"

// Four channels of four pixels: spk_conv2d_sums with pairs = 2. x8 may be the frame pointer, which
// compilers do not give, or do not keep: it is kept where the last sum will be.
static inline void spk_conv2d_sums_four(const uint32_t *words, const int8_t *weights,
                                        uint32_t *end) {
    register const uint32_t *from __asm__("x10") = words;
    register const int8_t *by __asm__("x11") = weights;
    register uint32_t *to __asm__("x12") = end;
    __asm__ volatile(
        "sw x8,60(%[end])\n"
        "li x28,0x7F807F80\n" SPK_RV32_ZERO("x1", "x5") SPK_RV32_ZERO("x6", "x7") SPK_RV32_ZERO(
            "x8", "x9") SPK_RV32_ZERO("x13", "x14") SPK_RV32_ZERO("x15", "x16")
            SPK_RV32_ZERO("x17", "x18") SPK_RV32_ZERO("x19", "x29") SPK_RV32_ZERO(
                "x30",
                "x31") "1:\n"
                       "lw x20,0(%[words])\n"
                       "lw x21,4(%[words])\n"
                       "lw x22,8(%[words])\n"
                       "lw x23,12(%[words])\n"
                       "addi %[words],%[words],16\n" SPK_RV32_FOUR(
                           "0", "x1", "x5", "x6", "x7") SPK_RV32_FOUR("1", "x8", "x9", "x13", "x14")
                           SPK_RV32_FOUR("2", "x15", "x16", "x17", "x18") SPK_RV32_FOUR(
                               "3", "x19", "x29", "x30",
                               "x31") "addi %[weights],%[weights],8\n"
                                      "bltu %[words],%[end],1b\n" SPK_RV32_STORE(
                                          "0", "x1", "x5") SPK_RV32_STORE("8", "x6", "x7")
                                          SPK_RV32_STORE("16", "x8", "x9") SPK_RV32_STORE(
                                              "24", "x13", "x14") SPK_RV32_STORE("32", "x15", "x16")
                                              SPK_RV32_STORE("40", "x17", "x18") SPK_RV32_STORE(
                                                  "48", "x19",
                                                  "x29") "lw x8,60(%[end])\n" SPK_RV32_STORE("56",
                                                                                             "x30",
                                                                                             "x31")
        : [words] "+r"(from), [weights] "+r"(by)
        : [end] "r"(to)
        : "memory", "x1", "x5", "x6", "x7", "x9", "x13", "x14", "x15", "x16", "x17", "x18", "x19",
          "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30", "x31");
}

// Four channels of two pixels: spk_conv2d_sums with pairs = 1.
static inline void spk_conv2d_sums_two(const uint32_t *words, const int8_t *weights,
                                       uint32_t *end) {
    register const uint32_t *from __asm__("x10") = words;
    register const int8_t *by __asm__("x11") = weights;
    register uint32_t *to __asm__("x12") = end;
    __asm__ volatile(
        "li x28,0x7F807F80\n" SPK_RV32_ZERO("x5", "x6") SPK_RV32_ZERO("x7", "x13")
            SPK_RV32_ZERO("x14", "x15") SPK_RV32_ZERO(
                "x16",
                "x17") "1:\n"
                       "lw x20,0(%[words])\n"
                       "lw x22,4(%[words])\n"
                       "addi %[words],%[words],8\n" SPK_RV32_TWO("0", "x5", "x6")
                           SPK_RV32_TWO("1", "x7", "x13") SPK_RV32_TWO("2", "x14", "x15")
                               SPK_RV32_TWO("3", "x16",
                                            "x17") "addi %[weights],%[weights],8\n"
                                                   "bltu %[words],%[end],1b\n" SPK_RV32_STORE(
                                                       "0", "x5", "x6")
                                                       SPK_RV32_STORE("8", "x7", "x13")
                                                           SPK_RV32_STORE("16", "x14", "x15")
                                                               SPK_RV32_STORE("24", "x16", "x17")
        : [words] "+r"(from), [weights] "+r"(by)
        : [end] "r"(to)
        : "memory", "x5", "x6", "x7", "x13", "x14", "x15", "x16", "x17", "x20", "x22", "x24", "x25",
          "x26", "x28");
}

#endif
