// Parts of conv2d.h for Arm cores with the DSP extension (Cortex-M4, M7, M33).
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_CONV2D_DSP_H
#define SPK_CONV2D_DSP_H

#include "kernels/arch/dsp.h"

// Of two channels and two pixels.
struct spk_dsp_sums {
    int32_t both[2]; // low + 256 * high channel
    int32_t low[2];
};

// Codes of two pixels from tap `at` on, in order. lanes: (taps / 4, 2 pixels, 4) int16.
SPK_INLINE void spk_conv2d_pack_lanes(uint32_t *scratch, uint32_t at, const int8_t *const *from,
                                      uint32_t n) {
    int16_t *to = (int16_t *)scratch + at / 4 * 8 + at % 4;
    for (uint32_t i = 0; i < n; i++) {
        to[0] = from[0][i];
        to[4] = from[1][i];
        to++;
        if ((++at & 3) == 0) {
            to += 4;
        }
    }
}

SPK_INLINE uint32_t *spk_conv2d_pack_quad(uint32_t *to, const int8_t *from) {
    uint32_t word;
    __builtin_memcpy(&word, from, 4);
    to[0] = spk_sxtb16(word);
    to[1] = spk_sxtb16_high(word);
    return to + 2;
}

// The same where runs start at a quad and end with one; codes in the order 0, 2, 1, 3.
SPK_INLINE void spk_conv2d_pack_quads(uint32_t *scratch, uint32_t at, const int8_t *const *from,
                                      uint32_t n) {
    uint32_t *to = scratch + at;
    const int8_t *first = from[0];
    const int8_t *second = from[1];
    const int8_t *const end = first + n;
    do {
        to = spk_conv2d_pack_quad(to, first);
        to = spk_conv2d_pack_quad(to, second);
        first += 4;
        second += 4;
    } while (first < end);
}

#define SPK_DSP_QUAD                                                                               \
    "ldmia %[words]!, {r4, r5, r6, r8}\n"                                                          \
    "ldmia %[weights]!, {r9, r10}\n"                                                               \
    "smlad %[a0], r4, r9, %[a0]\n"                                                                 \
    "smlad %[a1], r6, r9, %[a1]\n"                                                                 \
    "sxtb16 r9, r9\n"                                                                              \
    "smlad %[a0], r5, r10, %[a0]\n"                                                                \
    "smlad %[a1], r8, r10, %[a1]\n"                                                                \
    "sxtb16 r10, r10\n"                                                                            \
    "smlad %[b0], r4, r9, %[b0]\n"                                                                 \
    "smlad %[b1], r6, r9, %[b1]\n"                                                                 \
    "smlad %[b0], r5, r10, %[b0]\n"                                                                \
    "smlad %[b1], r8, r10, %[b1]\n"

// words: (taps / 4, 2 pixels, 2); weights: (taps / 2,); taps by eights.
SPK_INLINE struct spk_dsp_sums spk_conv2d_dsp_sums(const uint32_t *words, const uint32_t *weights,
                                                   uint32_t taps) {
    const uint32_t *const end = words + taps;
    int32_t a0 = 0;
    int32_t a1 = 0;
    int32_t b0 = 0;
    int32_t b1 = 0;
    __asm__ volatile("1:\n" SPK_DSP_QUAD SPK_DSP_QUAD "cmp %[words], %[end]\n"
                     "bcc 1b\n"
                     : [words] "+r"(words), [weights] "+r"(weights), [a0] "+r"(a0), [a1] "+r"(a1),
                       [b0] "+r"(b0), [b1] "+r"(b1)
                     : [end] "r"(end)
                     : "r4", "r5", "r6", "r8", "r9", "r10", "cc", "memory");
    return (struct spk_dsp_sums){{a0, a1}, {b0, b1}};
}

#endif
