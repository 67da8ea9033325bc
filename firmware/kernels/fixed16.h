// Logistic and tanh of int16 fixed point. Golden twin: pytools/spikelet/graph/fixed16.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_FIXED16_H
#define SPK_FIXED16_H

#include "kernels/requantise.h"

// A value with i integer bits is code * 2^(i - 15).

SPK_INLINE int32_t spk_saturate16(int32_t x) {
    return spk_clamp(x, INT16_MIN, INT16_MAX);
}

// a * b / 2^15, halves up, saturated.
SPK_INLINE int32_t spk_high_mul16(int32_t a, int32_t b) {
    const int32_t product = (a * b + (1 << 14)) >> 15;
    return product > INT16_MAX ? INT16_MAX : product;
}

// exp of a value not above 0, as Q0.15.
SPK_SHARED int32_t spk_exp16(int32_t x, uint32_t integer_bits) {
    static const int16_t spk_exp16_powers[7] = {25520, 19875, 12055, 4435, 600, 11, 0};
    if (x == 0) {
        return INT16_MAX;
    }
    const uint32_t fraction = 15 - integer_bits;
    if (integer_bits > 5 && x < -(32 << fraction)) {
        return 0;
    }
    const int32_t quarter = 1 << (fraction - 2);
    const int32_t part = (x & (quarter - 1)) - quarter;
    const uint32_t rest = (uint32_t)(part - x);
    const int32_t a = part * (1 << integer_bits) + (1 << 12); // Q0.15, about -1/8
    const int32_t a2 = spk_high_mul16(a, a);
    const int32_t a3 = spk_high_mul16(a2, a);
    const int32_t a4 = spk_high_mul16(a2, a2);
    const int32_t third = spk_high_mul16(spk_rounding_shift(a4, 2) + a3, 10923);
    const int32_t series = a + spk_rounding_shift(third + a2, 1);
    int32_t result = spk_saturate16(28918 + spk_high_mul16(series, 28918));
    for (uint32_t k = 0; k < integer_bits + 2; k++) {
        if (rest >> (fraction - 2 + k) & 1) {
            result = spk_high_mul16(result, spk_exp16_powers[k]);
        }
    }
    return result;
}

// 2 / (1 + x) of a Q0.15 value in [0, 1], as Q2.13: three Newton steps.
SPK_SHARED int32_t spk_reciprocal16(int32_t x) {
    const int32_t half = (x + INT16_MAX + 1) >> 1;
    int32_t y = 23130 + spk_high_mul16(half, -15420); // 48/17 - 32/17 * half
    for (uint32_t i = 0; i < 3; i++) {
        const int32_t error = (1 << 13) - spk_high_mul16(half, y);
        y = (int16_t)(y + spk_saturate16(spk_high_mul16(y, error) * 4));
    }
    return y;
}

// 1 / (1 + exp(-x)) of a value with 3 integer bits, as Q0.15.
SPK_INLINE int32_t spk_logistic16(int32_t x) {
    if (x == 0) {
        return 1 << 14;
    }
    const int32_t power = spk_exp16(x < 0 ? x : -x, 3);
    const int32_t positive = spk_saturate16(spk_reciprocal16(power) * 2);
    return x > 0 ? positive : INT16_MAX - positive;
}

// tanh of a value with 0 to 6 integer bits, as Q0.15.
SPK_INLINE int32_t spk_tanh16(int32_t x, uint32_t integer_bits) {
    if (x == 0) {
        return 0;
    }
    const int32_t y = spk_reciprocal16(spk_exp16(x < 0 ? x : -x, integer_bits + 1));
    const int32_t positive = spk_saturate16((y - (1 << 13)) * 4);
    return x < 0 ? -positive : positive;
}

#endif
