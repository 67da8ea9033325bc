// Instructions of Arm's DSP extension, and how int8 weights are laid out for them.
// SPDX-License-Identifier: Apache-2.0
//
// A 16-bit lane of the weights holds those of two channels, low + 256 * high: four weights a word,
// as many as in bytes. SMLAD with the word as it is sums low + 256 * high, SMLAD with its low bytes
// alone, one SXTB16, sums low. The difference is 256 times the sum of the high channel, right
// modulo 2^32, so that sum has 24 bits, which the exporter proves.
#ifndef SPK_DSP_H
#define SPK_DSP_H

#include "kernels/fixed.h"

// sum + low lanes' product + high lanes' product.
SPK_INLINE int32_t spk_smlad(uint32_t a, uint32_t b, int32_t sum) {
    __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

// Bytes 0 and 2, in lanes.
SPK_INLINE uint32_t spk_sxtb16(uint32_t x) {
    uint32_t lanes;
    __asm__("sxtb16 %0, %1" : "=r"(lanes) : "r"(x));
    return lanes;
}

// Bytes 1 and 3, in lanes.
SPK_INLINE uint32_t spk_sxtb16_high(uint32_t x) {
    uint32_t lanes;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(lanes) : "r"(x));
    return lanes;
}

// Lanes, and bytes 0 and 2 of x.
SPK_INLINE uint32_t spk_uxtab16(uint32_t lanes, uint32_t x) {
    __asm__("uxtab16 %0, %0, %1" : "+r"(lanes) : "r"(x));
    return lanes;
}

// Lanes, and bytes 1 and 3 of x.
SPK_INLINE uint32_t spk_uxtab16_high(uint32_t lanes, uint32_t x) {
    __asm__("uxtab16 %0, %0, %1, ror #8" : "+r"(lanes) : "r"(x));
    return lanes;
}

// Sums of four channels, in pairs: low + 256 * high channel, and low.
struct spk_dsp_four {
    int32_t both[2];
    int32_t low[2];
};

#define SPK_DSP_RUN_QUAD                                                                           \
    "ldr r5, [%[x]], #4\n"                                                                         \
    "ldmia %[weights]!, {r6, r8, r9, r10}\n"                                                       \
    "sxtb16 r4, r5\n"                                                                              \
    "sxtb16 r5, r5, ror #8\n"                                                                      \
    "smlad %[a0], r4, r6, %[a0]\n"                                                                 \
    "smlad %[a1], r4, r9, %[a1]\n"                                                                 \
    "sxtb16 r6, r6\n"                                                                              \
    "sxtb16 r9, r9\n"                                                                              \
    "smlad %[a0], r5, r8, %[a0]\n"                                                                 \
    "smlad %[a1], r5, r10, %[a1]\n"                                                                \
    "sxtb16 r8, r8\n"                                                                              \
    "sxtb16 r10, r10\n"                                                                            \
    "smlad %[b0], r4, r6, %[b0]\n"                                                                 \
    "smlad %[b1], r4, r9, %[b1]\n"                                                                 \
    "smlad %[b0], r5, r8, %[b0]\n"                                                                 \
    "smlad %[b1], r5, r10, %[b1]\n"

// Adds n codes, n > 0, read up to the next multiple of eight. weights: (quads, 2, 2) words, two
// quads at a time, of each the codes 0 2, 1 3; answers their end.
SPK_INLINE const uint32_t *spk_dsp_run(struct spk_dsp_four *sums, const int8_t *x,
                                       const uint32_t *weights, uint32_t n) {
    const int8_t *const end = x + n;
    int32_t a0 = sums->both[0];
    int32_t a1 = sums->both[1];
    int32_t b0 = sums->low[0];
    int32_t b1 = sums->low[1];
    __asm__ volatile("1:\n" SPK_DSP_RUN_QUAD SPK_DSP_RUN_QUAD "cmp %[x], %[end]\n"
                     "bcc 1b\n"
                     : [x] "+r"(x), [weights] "+r"(weights), [a0] "+r"(a0), [a1] "+r"(a1),
                       [b0] "+r"(b0), [b1] "+r"(b1)
                     : [end] "r"(end)
                     : "r4", "r5", "r6", "r8", "r9", "r10", "cc", "memory");
    *sums = (struct spk_dsp_four){{a0, a1}, {b0, b1}};
    return weights;
}

#endif
