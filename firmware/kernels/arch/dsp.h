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

#endif
