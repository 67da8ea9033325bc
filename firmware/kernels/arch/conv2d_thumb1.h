// The inner loop of conv2d.h for Arm cores with the small instruction set (Cortex-M0, M23): eight
// registers compute, the others hold the sums.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_CONV2D_THUMB1_H
#define SPK_CONV2D_THUMB1_H

#include <stdint.h>

// One channel: its weights of two taps; adds the pair of sums, and that of the second pixel.
#define SPK_THUMB1_CHANNEL(k, both, high)                                                          \
    "ldrb %[a], [%[weights], #" k "]\n"                                                            \
    "ldrb %[b], [%[weights], #4+" k "]\n"                                                          \
    "sxtb %[a], %[a]\n"                                                                            \
    "sxtb %[b], %[b]\n"                                                                            \
    "muls %[a], %[x], %[a]\n"                                                                      \
    "muls %[b], %[z], %[b]\n"                                                                      \
    "adds %[a], %[a], %[b]\n"                                                                      \
    "add " both ", " both ", %[a]\n"                                                               \
    "adds %[a], %[a], %[offset]\n"                                                                 \
    "lsrs %[a], %[a], #16\n"                                                                       \
    "add " high ", " high ", %[a]\n"

// Two channels of two pixels into four words at `to`; words and weights as of spk_conv2d_sums.
static inline void spk_conv2d_sums_thumb1(const uint32_t *words, const int8_t *weights,
                                          const uint32_t *end, uint32_t *to) {
    uint32_t a = (uint32_t)end; // at first, for want of registers
    uint32_t b, x, z;
    const uint32_t offset = 0x7F807F80u;
    __asm__ volatile(".syntax unified\n"
                     "mov r12, %[a]\n"
                     "movs %[a], #0\n"
                     "mov r8, %[a]\n"
                     "mov r9, %[a]\n"
                     "mov r10, %[a]\n"
                     "mov r11, %[a]\n"
                     "1:\n"
                     "ldr %[x], [%[words]]\n"
                     "ldr %[z], [%[words], #4]\n" SPK_THUMB1_CHANNEL("0", "r8", "r9")
                         SPK_THUMB1_CHANNEL("1", "r10", "r11") "adds %[words], #8\n"
                                                               "adds %[weights], #8\n"
                                                               "cmp %[words], r12\n"
                                                               "bcc 1b\n"
                                                               "mov %[a], r8\n"
                                                               "mov %[b], r9\n"
                                                               "mov %[x], r10\n"
                                                               "mov %[z], r11\n"
                     : [a] "+l"(a), [b] "=&l"(b), [x] "=&l"(x), [z] "=&l"(z), [words] "+l"(words),
                       [weights] "+l"(weights)
                     : [offset] "l"(offset)
                     : "r8", "r9", "r10", "r11", "r12", "cc", "memory");
    to[0] = a;
    to[1] = b;
    to[2] = x;
    to[3] = z;
}

#endif
