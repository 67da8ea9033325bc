// Softmax over rows of int8, in fixed point. Golden twin: pytools/spikelet/graph/ops/softmax.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_SOFTMAX_H
#define SPK_SOFTMAX_H

#include "kernels/requantise.h"

struct spk_softmax {
    uint32_t rows; // the tensors are (rows, length)
    uint32_t length;
    int32_t multiplier; // of a difference to the maximum, to Q5.26
    uint32_t shift;     // to the left, before
    int32_t lowest;     // below this difference to the maximum a share is 0
};

// x * 2^shift, saturated.
SPK_INLINE int32_t spk_softmax_shift(int32_t x, uint32_t shift) {
    const int32_t limit = INT32_MAX >> shift;
    return x > limit ? INT32_MAX : x < -limit - 1 ? INT32_MIN : (int32_t)((uint32_t)x << shift);
}

// exp of a Q5.26 value not above 0, as Q0.31: a polynomial about -1/8, times exp(-2^k).
static __attribute__((noinline, unused)) int32_t spk_softmax_exp(int32_t x) {
    static const int32_t spk_exp_powers[7] = {1672461947, 1302514674, 790015084, 290630308,
                                              39332535,   720401,     242};
    const int32_t quarter = 1 << 24;
    const int32_t part = (x & (quarter - 1)) - quarter;
    const uint32_t rest = (uint32_t)(part - x);
    const int32_t a = part * 32 + (1 << 28);
    const int32_t a2 = spk_high_mul(a, a);
    const int32_t a3 = spk_high_mul(a2, a);
    const int32_t a4 = spk_high_mul(a2, a2);
    const int32_t third = spk_high_mul(spk_rounding_shift(a4, 2) + a3, 715827883);
    const int32_t series = a + spk_rounding_shift(third + a2, 1);
    int32_t result = 1895147668 + spk_high_mul(series, 1895147668);
    for (uint32_t k = 0; k < 7; k++) {
        if (rest >> (24 + k) & 1) {
            result = spk_high_mul(result, spk_exp_powers[k]);
        }
    }
    return x == 0 ? INT32_MAX : result;
}

// 1 / (1 + x) of a Q0.31 value in [0, 1), as Q0.31: three Newton steps.
SPK_INLINE int32_t spk_softmax_reciprocal(int32_t x) {
    const int32_t half = (int32_t)(((uint32_t)x + (1u << 31)) >> 1);
    int32_t y = 1515870810 + spk_high_mul(half, -1010580540);
    for (uint32_t i = 0; i < 3; i++) {
        const int32_t error = (1 << 29) - spk_high_mul(half, y);
        y += spk_softmax_shift(spk_high_mul(y, error), 2);
    }
    return spk_softmax_shift(y, 1);
}

SPK_INLINE uint32_t spk_leading_zeros(uint32_t x) {
    uint32_t zeros = 0;
    for (; !(x >> 31); x <<= 1) {
        zeros++;
    }
    return zeros;
}

SPK_INLINE int32_t spk_softmax_power(const struct spk_softmax *c, int32_t difference) {
    const int32_t wide = (int32_t)((uint32_t)difference << c->shift);
    return spk_softmax_exp(spk_high_mul(wide, c->multiplier));
}

SPK_INLINE void spk_softmax_s8(const struct spk_softmax *c, const int8_t *x, int8_t *y) {
    for (uint32_t row = 0; row < c->rows; row++, x += c->length, y += c->length) {
        int32_t most = INT8_MIN;
        for (uint32_t i = 0; i < c->length; i++) {
            most = x[i] > most ? x[i] : most;
        }
        int32_t sum = 0; // Q12.19
        for (uint32_t i = 0; i < c->length; i++) {
            if (x[i] - most >= c->lowest) {
                sum += spk_rounding_shift(spk_softmax_power(c, x[i] - most), 12);
            }
        }
        const uint32_t headroom = spk_leading_zeros((uint32_t)sum);
        const int32_t reciprocal =
            spk_softmax_reciprocal((int32_t)(((uint32_t)sum << headroom) - (1u << 31)));
        // No share is negative; from an exponent of 32 on, every one is below half a code.
        const uint32_t exponent = 12 + 31 - 8 - headroom; // 23 to 34, as 2^19 <= sum < 2^31
        const uint32_t right = exponent > 31 ? 31 : exponent;
        const uint32_t half = exponent > 31 ? 0 : 1u << (exponent - 1);
        for (uint32_t i = 0; i < c->length; i++) {
            int32_t code = INT8_MIN;
            if (x[i] - most >= c->lowest) {
                const int64_t product = (int64_t)reciprocal * spk_softmax_power(c, x[i] - most);
                const uint32_t share = (uint32_t)((product + (1 << 30)) >> 31);
                code += (int32_t)((share + half) >> right);
            }
            y[i] = (int8_t)(code > INT8_MAX ? INT8_MAX : code);
        }
    }
}

#endif
