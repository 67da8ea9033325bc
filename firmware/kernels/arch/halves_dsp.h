// Two membranes of 16 bits in the halves of a word, with Arm's DSP extension.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_HALVES_DSP_H
#define SPK_HALVES_DSP_H

#include "kernels/fixed.h"

#define SPK_HALVES_ONES 0x00010001u

SPK_INLINE uint32_t spk_halves_add(uint32_t a, uint32_t b) {
    uint32_t sum;
    __asm__("uadd16 %0, %1, %2" : "=r"(sum) : "r"(a), "r"(b) : "cc");
    return sum;
}

SPK_INLINE uint32_t spk_halves_sub(uint32_t a, uint32_t b) {
    uint32_t rest;
    __asm__("usub16 %0, %1, %2" : "=r"(rest) : "r"(a), "r"(b) : "cc");
    return rest;
}

// -1 where a half is negative, else 0.
SPK_INLINE uint32_t spk_halves_signs(uint32_t a) {
    uint32_t signs;
    __asm__("ssat16 %0, #1, %1" : "=r"(signs) : "r"(a));
    return signs;
}

// What is kept of two membranes below 2^15 in size, plus x. Toward zero, `leak` is odd or 2^15.
// ones: 0x00010001, in a register, so that a shift is part of the AND.
SPK_INLINE uint32_t spk_halves_leak(uint32_t leak, uint8_t rounding, uint32_t ones, uint32_t v,
                                    uint32_t x) {
    uint32_t low;
    uint32_t high;
    if (leak == 1u << 15) {
        return spk_halves_add(v, x);
    }
    if (rounding == SPK_NEAREST) {
        const uint32_t half = 1u << 14;
        __asm__("smlabb %0, %1, %2, %3" : "=r"(low) : "r"(v), "r"(leak), "r"(half));
        __asm__("smlatb %0, %1, %2, %3" : "=r"(high) : "r"(v), "r"(leak), "r"(half));
        high <<= 1;
        __asm__("pkhtb %0, %1, %2, asr #15" : "=r"(low) : "r"(high), "r"(low));
        return spk_halves_add(low, x);
    }
    const uint32_t twice = 2 * leak;
    __asm__("smulwb %0, %1, %2" : "=r"(low) : "r"(twice), "r"(v));
    __asm__("smulwt %0, %1, %2" : "=r"(high) : "r"(twice), "r"(v));
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(low) : "r"(low), "r"(high));
    if (rounding == SPK_TOWARD_ZERO) { // odd, so 1 more than the floor of what is negative
        x = spk_halves_add(x, (v >> 15 & ones));
    }
    return spk_halves_add(low, x);
}

// The same with a leak each, 0 to 2^15, two in a word: less 2^15 they have a sign, and 16 bits.
SPK_INLINE uint32_t spk_halves_leaks(uint32_t leaks, uint8_t rounding, uint32_t v, uint32_t x) {
    const uint32_t lost = leaks ^ 0x80008000u;
    uint32_t low;
    uint32_t high;
    if (rounding == SPK_FLOOR) {
        __asm__("smulbb %0, %1, %2" : "=r"(low) : "r"(v), "r"(lost));
        __asm__("smultt %0, %1, %2" : "=r"(high) : "r"(v), "r"(lost));
    } else {
        const uint32_t half = 1u << 14;
        const uint32_t signs = spk_halves_signs(v); // what is negative is rounded up
        const uint32_t first = rounding == SPK_NEAREST ? half : signs & 0x7FFFu;
        const uint32_t second = rounding == SPK_NEAREST ? half : signs >> 17;
        __asm__("smlabb %0, %1, %2, %3" : "=r"(low) : "r"(v), "r"(lost), "r"(first));
        __asm__("smlatt %0, %1, %2, %3" : "=r"(high) : "r"(v), "r"(lost), "r"(second));
    }
    high <<= 1;
    __asm__("pkhtb %0, %1, %2, asr #15" : "=r"(low) : "r"(high), "r"(low));
    return spk_halves_add(spk_halves_add(low, v), x);
}

#endif
