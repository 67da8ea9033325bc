// Fixed-point scaling of int32 sums. Golden twin: pytools/spikelet/graph/requantise.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_REQUANTISE_H
#define SPK_REQUANTISE_H

#include "kernels/fixed.h"
#include "kernels/requantise_even.h"

#if defined(__ARM_FEATURE_DSP) && !defined(__OPTIMIZE__) && !defined(__clang__)
#error "int8 kernels take a register that GCC keeps at -O0: compile this file with -Og or more"
#endif

// a * b / 2^31, halves up; saturates where both are INT32_MIN.
SPK_INLINE int32_t spk_high_mul(int32_t a, int32_t b) {
    if (a == INT32_MIN && b == INT32_MIN) {
        return INT32_MAX;
    }
    return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

// x / 2^exponent, halves away from zero; exponent 0 to 31.
SPK_INLINE int32_t spk_rounding_shift(int32_t x, uint32_t exponent) {
    const uint32_t mask = (1u << exponent) - 1;
    const uint32_t rest = (uint32_t)x & mask;
    return (x >> exponent) + (rest > (mask >> 1) + (x < 0));
}

// a * b / 2^32, rounded down; 0 <= b.
SPK_INLINE int32_t spk_high_word(int32_t a, int32_t b) {
#if defined(__ARM_ARCH_ISA_THUMB) && __ARM_ARCH_ISA_THUMB == 1
    // These cores have no long product, and call a library for it.
    const uint32_t low = (uint32_t)a & 0xFFFF;
    const int32_t b_low = b & 0xFFFF;
    const int32_t b_high = b >> 16;
    const int32_t middle = (a >> 16) * b_low + (int32_t)((low * (uint32_t)b_low) >> 16);
    const uint32_t carry = ((uint32_t)middle & 0xFFFF) + low * (uint32_t)b_high;
    return (a >> 16) * b_high + (middle >> 16) + (int32_t)(carry >> 16);
#else
    return (int32_t)(((int64_t)a * b) >> 32);
#endif
}

#if defined(SPK_ADDS_ONLY)
// x * multiplier / 2^30, rounded down; |x| < 2^30, multiplier >= 0. The sum is halved after each
// bit of x, which rounds it down as it goes: as many rounds as x has bits, by threes.
SPK_SHARED int32_t spk_product_30(int32_t x, int32_t multiplier) {
    const uint32_t sign = (uint32_t)(x >> 31);
    const uint32_t m = (uint32_t)multiplier;
    if (m == 0) {
        return 0;
    }
    // A negative x is -(bits + 1), and its product the complement of bits * m + (m - 1).
    uint32_t bits = (uint32_t)x ^ sign;
    uint32_t sum = sign & (m - 1);
    uint32_t right = 30;
    for (; bits != 0; bits >>= 3, right -= 3) {
        SPK_UNROLL(3)
        for (uint32_t bit = 1; bit < 8; bit <<= 1) {
            if (bits & bit) {
                sum += m;
            }
            sum >>= 1;
        }
    }
    return (int32_t)(sum >> right ^ sign);
}
#endif

// x * multiplier * 2^(shift - 31), rounded twice; multiplier >= 0, shift -31 to 30, > 0 to the
// left.
SPK_INLINE int32_t spk_requantise(int32_t x, int32_t multiplier, int32_t shift) {
    const uint32_t left = shift > 0 ? (uint32_t)shift : 0;
    const uint32_t right = shift > 0 ? 0 : (uint32_t)-shift;
    const int32_t wide = (int32_t)((uint32_t)x << left);
    return spk_rounding_shift((int32_t)((spk_signed_product(wide, multiplier) + (1 << 30)) >> 31),
                              right);
}

#if !defined(__ARM_FEATURE_DSP)
// As spk_requantise_offset, of four times x.
SPK_INLINE int32_t spk_requantise_quadruple(int32_t x4, int32_t multiplier, uint32_t right,
                                            int32_t offset) {
#if defined(SPK_ADDS_ONLY)
    const int32_t high = spk_product_30(x4 >> 2, multiplier); // before its rounding
#else
    const int32_t high = spk_high_word(x4, multiplier); // before its rounding
#endif
    // (high + 1) / 2 is the first rounding. Halves are rounded away from zero: subtract 1 if
    // negative.
    return (high + 2 * (high >> 31) + offset) >> (right + 1);
}
#endif

// Fast path of spk_requantise plus zero_point. Precondition, checked by the exporter: |x| < 2^29
// and a shift to the right, 1 <= right <= 20. x * 4 then fits a word, and the high word of its
// product keeps the one bit that the first rounding needs. `offset` is spk_near_offset: one
// addition does both roundings and adds the zero point.
SPK_INLINE int32_t spk_requantise_offset(int32_t x, int32_t multiplier, uint32_t right,
                                         int32_t offset) {
#if defined(__ARM_FEATURE_DSP)
    int32_t high; // rounded: x * multiplier / 2^31
    __asm__("smmulr %0, %1, %2" : "=r"(high) : "r"(x * 2), "r"(multiplier));
    return (high + (high >> 31) + offset) >> right;
#else
    return spk_requantise_quadruple(x * 4, multiplier, right, offset);
#endif
}

SPK_INLINE int32_t spk_near_offset(uint32_t right, int32_t zero_point) {
    const uint32_t offset = (uint32_t)(2 * zero_point + 1) << right;
#if defined(__ARM_FEATURE_DSP)
    return (int32_t)offset >> 1;
#else
    return (int32_t)(offset + 1);
#endif
}

SPK_INLINE int32_t spk_requantise_near(int32_t x, int32_t multiplier, uint32_t right,
                                       int32_t zero_point) {
    return spk_requantise_offset(x, multiplier, right, spk_near_offset(right, zero_point));
}

// Kernels called _wide also take channels that break the precondition of spk_requantise_near. Such
// a channel is marked: SPK_FAR is added to its shift, which makes it positive. Only the outputs of
// marked channels cost more.
#define SPK_FAR 95

// How the sums of a layer become int8 codes. Arrays are padded to a multiple of four channels.
struct spk_rescale {
    const int32_t *bias;       // (channels,) less input zero point * sum of weights
    const int32_t *multiplier; // (channels,); with `even` 0, on cores with vectors their numbers
    const int8_t *shift;       // (channels,); with `even` 0
    int16_t zero_point;
    int16_t low; // of the output's codes
    int16_t high;
    uint16_t levels;     // steps of a channel in `even`; 0 where it has lines
    const int32_t *even; // (channels, levels) or (channels, 4), see requantise_even.h; or 0
};

// `code` is counted from r->low; clamped to the span of the output's codes.
SPK_INLINE int32_t spk_clamp_code(const struct spk_rescale *r, uint32_t code) {
    const uint32_t span = (uint32_t)(r->high - r->low);
#if defined(__arm__)
    if (code > span) {
        code = (int32_t)code < 0 ? 0 : span;
    }
#else // RV32 selects by arithmetic in one instruction less
    if (code > span) {
        return ((int32_t)code >> 31 & -(int32_t)span) + r->high;
    }
#endif
    return (int32_t)code + r->low;
}

// Whether a layer has `even`; without SPK_EVEN none of a model's has.
SPK_INLINE bool spk_is_even(const struct spk_rescale *r) {
#if defined(SPK_EVEN)
    return r->even != 0;
#else
    (void)r;
    return false;
#endif
}

// What spk_rescale asks for of a channel, of any but a _wide kernel as it lies. In a layer with
// `even` the multiplier is the number of the channel, which is marked.
SPK_INLINE int32_t spk_multiplier_of(const struct spk_rescale *r, bool wide, uint32_t channel) {
    return wide && spk_is_even(r) ? (int32_t)channel : r->multiplier[channel];
}

SPK_INLINE int32_t spk_shift_of(const struct spk_rescale *r, bool wide, uint32_t channel) {
    return wide && spk_is_even(r) ? SPK_FAR : r->shift[channel];
}

SPK_INLINE int32_t spk_clamp(int32_t x, int32_t low, int32_t high) {
    return x < low ? low : x > high ? high : x;
}

// Code of a sum that holds its bias, halves to even.
SPK_INLINE int8_t spk_rescale_even(const struct spk_rescale *r, int32_t sum, uint32_t channel) {
    if (r->levels > 0) {
        const int32_t *steps = r->even + channel * r->levels;
        return (int8_t)(r->low + (int32_t)spk_steps_reached(sum, steps, r->levels));
    }
    const int32_t zero = r->zero_point;
    const int32_t code = spk_requantise_even(sum, r->even + 4 * channel);
    return (int8_t)(spk_clamp(code, r->low - zero, r->high - zero) + zero);
}

// Code of a sum that holds its bias; `near` promises what spk_requantise_near asks for.
// multiplier, shift: spk_multiplier_of, spk_shift_of.
SPK_INLINE int8_t spk_rescale(const struct spk_rescale *r, bool near, int32_t sum,
                              int32_t multiplier, int32_t shift) {
    const int32_t zero = r->zero_point;
    if (near) {
        const int32_t code = spk_requantise_near(sum, multiplier, (uint32_t)-shift, zero - r->low);
        return (int8_t)spk_clamp_code(r, (uint32_t)code);
    }
    if (spk_is_even(r)) {
        return spk_rescale_even(r, sum, (uint32_t)multiplier);
    }
    // It may reach any int32: clamped before the zero point is added.
    const int32_t code = spk_requantise(sum, multiplier, shift);
    return (int8_t)(spk_clamp(code, r->low - zero, r->high - zero) + zero);
}

// The same in a layer with both: `wide` where some channels are marked.
SPK_INLINE int8_t spk_rescale_marked(const struct spk_rescale *r, bool wide, int32_t sum,
                                     int32_t multiplier, int32_t shift) {
    if (wide && shift > 0) {
        return spk_rescale(r, false, sum, multiplier, shift - SPK_FAR);
    }
    return spk_rescale(r, true, sum, multiplier, shift);
}

// What spk_requantise_near needs for a channel, side by side. In brackets: of a marked channel.
struct spk_scale {
    int32_t bias; // doubled [as it is]
    int32_t multiplier;
    int32_t offset; // (2 * zero_point + 1) << (right - 1) [not read]
    uint32_t right; // [SPK_FAR + shift, 64 or more]
};

// Narrows a layer's codes to its activation, where a kernel let them have the whole range.
SPK_SHARED void spk_clamp_codes(const struct spk_rescale *out, int8_t *codes, uint32_t n) {
    if (out->low == INT8_MIN && out->high == INT8_MAX) {
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        const int32_t code = codes[i] < out->low ? out->low : codes[i];
        codes[i] = (int8_t)(code > out->high ? out->high : code);
    }
}

#if defined(__ARM_FEATURE_DSP)
// The scale at *at, in one instruction; moves on.
SPK_INLINE struct spk_scale spk_next_scale_dsp(const struct spk_scale **at) {
    register int32_t bias __asm__("r4");
    register int32_t multiplier __asm__("r5");
    register int32_t offset __asm__("r6");
    register uint32_t right __asm__("r8");
    __asm__("ldmia %0!, {r4, r5, r6, r8}"
            : "+r"(*at), "=r"(bias), "=r"(multiplier), "=r"(offset), "=r"(right));
    return (struct spk_scale){bias, multiplier, offset, right};
}

// Code in the whole range, from a doubled sum without bias.
SPK_INLINE int8_t spk_rescale_dsp(const struct spk_scale *s, int32_t doubled) {
    int32_t x = doubled + s->bias;
    __asm__("smmulr %0, %0, %1" : "+r"(x) : "r"(s->multiplier));
    x = (x + (x >> 31) + s->offset) >> s->right;
    __asm__("ssat %0, #8, %0" : "+r"(x));
    return (int8_t)x;
}

// Code of a marked channel.
SPK_SHARED int8_t spk_rescale_dsp_marked(const struct spk_rescale *r, const struct spk_scale *s,
                                         int32_t sum) {
    const int32_t shift = (int32_t)s->right - SPK_FAR;
    return spk_rescale(r, false, sum + s->bias, s->multiplier, shift);
}

// Code of a sum without bias, where some channels are marked.
SPK_INLINE int8_t spk_rescale_dsp_wide(const struct spk_rescale *r, const struct spk_scale *s,
                                       int32_t sum) {
    return s->right < 64 ? spk_rescale_dsp(s, sum * 2) : spk_rescale_dsp_marked(r, s, sum);
}
#endif

#endif
