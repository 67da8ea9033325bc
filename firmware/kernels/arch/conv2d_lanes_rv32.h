// The inner loop of conv2d_lanes.h for RV32 with a multiplier: 16 sums in registers, which
// compilers would spill.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_CONV2D_LANES_RV32_H
#define SPK_CONV2D_LANES_RV32_H

#include <stdint.h>

// x10: where the codes of four pixels are read, x11: their end, x12: the weights, x26: the sums.
// x20 to x23: a tap of four pixels; x8: its weights; x24: those of two channels; x25: a product.
// Registers by name, and taps by .irp: C has strings of 4095 characters.
#define SPK_LANES_MAC(x, sum) "mul x25," x ",x24\nadd " sum "," sum ",x25\n"
#define SPK_LANES_FOUR(a, b, c, d)                                                                 \
    SPK_LANES_MAC("x20", a) SPK_LANES_MAC("x21", b) SPK_LANES_MAC("x22", c) SPK_LANES_MAC("x23", d)
#define SPK_LANES_NEXT "srli x8,x8,4\nand x24,x8,x27\n"
// clang-format off
#define SPK_LANES_TAPS                                                                             \
    "1:\n.irp at,0,4,8,12\n"                                                                       \
    "lb x20,\\at(x10)\nlb x21,1+\\at(x10)\nlb x22,2+\\at(x10)\nlb x23,3+\\at(x10)\n"                 \
    "lw x8,\\at(x12)\nand x24,x8,x27\n"                                                           \
    SPK_LANES_FOUR("x1", "x5", "x6", "x7") SPK_LANES_NEXT                                          \
    SPK_LANES_FOUR("x9", "x13", "x14", "x15") SPK_LANES_NEXT                                       \
    SPK_LANES_FOUR("x16", "x17", "x18", "x19") SPK_LANES_NEXT                                      \
    SPK_LANES_FOUR("x28", "x29", "x30", "x31")                                                     \
    ".endr\naddi x10,x10,16\naddi x12,x12,16\nbltu x10,x11,1b\n"

#define SPK_LANES_COPY(a, b, c, d) "mv " a ",x1\nmv " b ",x5\nmv " c ",x6\nmv " d ",x7\n"
#define SPK_LANES_BEGIN                                                                            \
    "sw x8,128(x26)\nlw x1,0(x27)\nlw x5,4(x27)\nlw x6,8(x27)\nlw x7,12(x27)\nli x27,0x000F000F\n"  \
    SPK_LANES_COPY("x9", "x13", "x14", "x15") SPK_LANES_COPY("x16", "x17", "x18", "x19")           \
    SPK_LANES_COPY("x28", "x29", "x30", "x31")

// x27: 0x8000. A sum of two channels, modulo 2^32, is the first of the words at `i`, that of the
// second channel the next; or they are added to those.
#define SPK_LANES_SET(i, sum)                                                                      \
    "add x20," sum ",x27\nsw " sum "," i "(x26)\nsrai x20,x20,16\nsw x20,4+" i "(x26)\n"
#define SPK_LANES_ADD(i, sum)                                                                      \
    "lw x20," i "(x26)\nlw x21,4+" i "(x26)\nadd x20,x20," sum "\nadd " sum "," sum ",x27\n"        \
    "srai " sum "," sum ",16\nadd x21,x21," sum "\nsw x20," i "(x26)\nsw x21,4+" i "(x26)\n"
#define SPK_LANES_ALL(put)                                                                         \
    put("0", "x1") put("8", "x5") put("16", "x6") put("24", "x7")                                  \
    put("32", "x9") put("40", "x13") put("48", "x14") put("56", "x15")                             \
    put("64", "x16") put("72", "x17") put("80", "x18") put("88", "x19")                            \
    put("96", "x28") put("104", "x29") put("112", "x30") put("120", "x31")
#define SPK_LANES_END                                                                              \
    "lw x8,128(x26)\nlw x20,132(x26)\nli x27,0x8000\nbeqz x20,2f\n" SPK_LANES_ALL(SPK_LANES_SET)    \
    "j 3f\n2:\n" SPK_LANES_ALL(SPK_LANES_ADD) "3:\n"
// clang-format on

// As told in conv2d_lanes.h. x8 may be the frame pointer, which compilers do not give, or do not
// keep: it is kept behind the sums.
static inline void spk_lanes_run(const int8_t *from, const int8_t *end, const uint32_t *by,
                                 const uint32_t *starts, uint32_t *sums) {
    register const int8_t *at __asm__("x10") = from;
    register const int8_t *last __asm__("x11") = end;
    register const uint32_t *words __asm__("x12") = by;
    register uint32_t *to __asm__("x26") = sums;
    register const uint32_t *first __asm__("x27") = starts;
    __asm__ volatile(SPK_LANES_BEGIN SPK_LANES_TAPS SPK_LANES_END
                     : "+r"(at), "+r"(words), "+r"(first)
                     : "r"(last), "r"(to)
                     : "memory", "x1", "x5", "x6", "x7", "x9", "x13", "x14", "x15", "x16", "x17",
                       "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x28", "x29", "x30",
                       "x31");
}

#endif
