// Sum, difference, product, maximum, minimum of two int8 tensors, and ReLU with a tensor of slopes.
// Golden twins: pytools/spikelet/graph/ops/{add,sub,mul,maximum,minimum,prelu}.py.
// SPDX-License-Identifier: Apache-2.0
//
// Both operands of an output are read before it is written (with MVE: of four outputs), so the
// output may overwrite an operand of its own shape from its first byte on.
#ifndef SPK_ELEMENTWISE_H
#define SPK_ELEMENTWISE_H

#include "kernels/requantise.h"
#if defined(__ARM_FEATURE_MVE)
#include "kernels/arch/mve.h"
#endif

// dims: of the output; a_stride, b_stride: elements from one to the next in each dimension, 0 where
// an operand is broadcast. A sum and a difference use all three multipliers, a product uses
// `multiplier`, a PReLU uses `multiplier` below zero and `a_multiplier` elsewhere. The line of
// SPK_EVEN_* is multiplier, shift, a_multiplier, a_shift, see spk_requantise_even.
struct spk_elementwise {
    uint32_t dims[4];
    uint32_t a_stride[4];
    uint32_t b_stride[4];
    int32_t a_zero;
    int32_t a_one; // weight of one code before a_multiplier, which a near sum has not
    int32_t a_multiplier;
    int32_t a_shift;
    int32_t b_zero;
    int32_t b_one;
    int32_t b_multiplier;
    int32_t b_shift;
    int32_t multiplier;
    int32_t shift;
    int32_t zero;
    int32_t low;
    int32_t high;
};

// SPK_NEAR_*: the precondition of spk_requantise_near holds. Of a near sum, `a` is the operand of
// the larger scale, counted in halves of it, so it needs no multiplication; a_one carries its sign.
// a - b is SPK_NEAR_LESS, which subtracts `b`, or, where the larger scale is that of what is
// subtracted, SPK_NEAR_SUM with a negative a_one.
enum spk_elementwise_op {
    SPK_ADD,
    SPK_SUB,
    SPK_MUL,
    SPK_MAXIMUM,
    SPK_MINIMUM,
    SPK_PRELU,
    SPK_EVEN_SUM, // rounded once, halves to even
    SPK_EVEN_MUL,
    SPK_NEAR_SUM, // from here on near
    SPK_NEAR_LESS,
    SPK_NEAR_MUL
};

SPK_INLINE int8_t spk_combine(const struct spk_elementwise *c, enum spk_elementwise_op op,
                              int32_t a, int32_t b) {
    a -= c->a_zero;
    b -= c->b_zero;
    int32_t multiplier = c->multiplier;
    int32_t shift = c->shift;
    if (op == SPK_MAXIMUM || op == SPK_MINIMUM) {
        const int32_t code = (a > b) == (op == SPK_MAXIMUM) ? a : b;
        return (int8_t)spk_clamp(code + c->zero, c->low, c->high);
    }
    if (op == SPK_EVEN_SUM || op == SPK_EVEN_MUL) {
        const int32_t line[4] = {multiplier, shift, c->a_multiplier, c->a_shift};
        a = op == SPK_EVEN_SUM ? a * c->a_one + b * c->b_one : a * b;
        return (int8_t)spk_clamp(spk_requantise_even(a, line) + c->zero, c->low, c->high);
    }
    if (op == SPK_PRELU) {
        multiplier = a < 0 ? multiplier : c->a_multiplier;
        shift = a < 0 ? shift : c->a_shift;
        a = a < 0 ? spk_times(a, b) : a;
    } else if (op == SPK_MUL || op == SPK_NEAR_MUL) {
        a = spk_times(a, b);
    } else if (op == SPK_NEAR_SUM || op == SPK_NEAR_LESS) {
        b = spk_requantise_near(b * c->b_one, c->b_multiplier, (uint32_t)-c->b_shift, 0);
        a = a * c->a_one + (op == SPK_NEAR_SUM ? b : -b);
    } else {
        a = spk_requantise(a * c->a_one, c->a_multiplier, c->a_shift);
        b = spk_requantise(b * c->b_one, c->b_multiplier, c->b_shift);
        a = op == SPK_ADD ? a + b : a - b;
    }
    const struct spk_rescale out = {
        .zero_point = (int16_t)c->zero, .low = (int16_t)c->low, .high = (int16_t)c->high};
    return spk_rescale(&out, op >= SPK_NEAR_SUM, a, multiplier, shift);
}

#if defined(SPK_MVE_H)
// As spk_requantise_near, without a zero point.
SPK_INLINE int32x4_t spk_mve_requantise(int32x4_t x, int32_t multiplier, int32_t shift) {
    x = vqrdmulhq_n_s32(x, multiplier);
    x = vaddq_s32(x, vshrq_n_s32(x, 31));
    return vrshlq_n_s32(x, shift);
}

// Codes, in lanes of 32 bits, less their zero point. step: 0 or 1.
SPK_INLINE int32x4_t spk_mve_codes(const int8_t *p, uint32_t step, int32_t zero,
                                   mve_pred16_t there) {
    return vsubq_n_s32(step ? vldrbq_z_s32(p, there) : vdupq_n_s32(*p), zero);
}

SPK_INLINE void spk_elementwise_run(const struct spk_elementwise *c, enum spk_elementwise_op op,
                                    const int8_t *a, const int8_t *b, int8_t *y) {
    const uint32_t a_step = c->a_stride[3];
    const uint32_t b_step = c->b_stride[3];
    for (int32_t left = (int32_t)c->dims[3]; left > 0; left -= 4) {
        const mve_pred16_t there = vctp32q((uint32_t)left);
        int32x4_t x = spk_mve_codes(a, a_step, c->a_zero, there);
        int32x4_t other = spk_mve_codes(b, b_step, c->b_zero, there);
        if (op == SPK_NEAR_MUL) {
            x = vmulq_s32(x, other);
        } else {
            other = vmulq_n_s32(other, c->b_one);
            other = spk_mve_requantise(other, c->b_multiplier, c->b_shift);
            x = vmulq_n_s32(x, c->a_one);
            x = op == SPK_NEAR_SUM ? vaddq_s32(x, other) : vsubq_s32(x, other);
        }
        x = vaddq_n_s32(spk_mve_requantise(x, c->multiplier, c->shift), c->zero);
        x = vmaxq_s32(x, vdupq_n_s32(c->low));
        x = vminq_s32(x, vdupq_n_s32(c->high));
        vstrbq_p_s32(y, x, there);
        a += 4 * a_step;
        b += 4 * b_step;
        y += 4;
    }
}
#endif

SPK_INLINE void spk_elementwise_s8(const struct spk_elementwise *c, enum spk_elementwise_op op,
                                   const int8_t *a, const int8_t *b, int8_t *y) {
    for (uint32_t i = 0; i < c->dims[0]; i++) {
        for (uint32_t j = 0; j < c->dims[1]; j++) {
            for (uint32_t k = 0; k < c->dims[2]; k++) {
                const int8_t *pa = a + i * c->a_stride[0] + j * c->a_stride[1] + k * c->a_stride[2];
                const int8_t *pb = b + i * c->b_stride[0] + j * c->b_stride[1] + k * c->b_stride[2];
                const int8_t *const end = y + c->dims[3];
#if defined(SPK_MVE_H)
                if (op >= SPK_NEAR_SUM) {
                    spk_elementwise_run(c, op, pa, pb, y);
                    y += c->dims[3];
                    continue;
                }
#endif
                while (y != end) {
                    *y++ = spk_combine(c, op, *pa, *pb);
                    pa += c->a_stride[3];
                    pb += c->b_stride[3];
                }
            }
        }
    }
}

#endif
