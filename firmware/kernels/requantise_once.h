// Scaling of int32 sums with one rounding. Golden twin: pytools/spikelet/graph/requantise_once.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_REQUANTISE_ONCE_H
#define SPK_REQUANTISE_ONCE_H

#include "kernels/requantise.h"

// x * (multiplier + fraction / 2^22) * 2^(shift - 31), halves away from zero, saturated.
// multiplier >= 0, fraction 0 to 2^22 - 1, shift -31 to 30.
SPK_INLINE int32_t spk_requantise_once(int32_t x, int32_t multiplier, int32_t fraction,
                                       int32_t shift) {
    const uint32_t size = x < 0 ? 0u - (uint32_t)x : (uint32_t)x;
    const uint32_t right = (uint32_t)(31 - shift); // 1 to 62
    uint64_t product = spk_product(size, (uint32_t)multiplier);
    product += spk_product(size, (uint32_t)fraction) >> 22;
    product += right > 32 ? (uint64_t)(1u << (right - 33)) << 32 : 1u << (right - 1);
    const uint32_t high = (uint32_t)(product >> 32);
    uint32_t result = INT32_MAX;
    if (right >= 32) { // no shift of 64 bits by a variable: some cores call a library for it
        result = high >> (right - 32);
    } else if (high >> (right - 1) == 0) {
        result = ((uint32_t)product >> right) | (high << (32 - right));
    }
    return x < 0 ? -(int32_t)result : (int32_t)result;
}

// Fast path of the above plus zero_point. Precondition, checked by the exporter: -20 <= shift <=
// -2. A negative product is lowered by its least significant unit; halves then round away from
// zero.
SPK_INLINE int32_t spk_requantise_once_near(int32_t x, int32_t multiplier, int32_t fraction,
                                            uint32_t right, int32_t zero_point) {
    const int64_t rest = spk_signed_product(x, fraction) + (x >> 31);
    const int64_t product = spk_signed_product(x, multiplier) + (int32_t)(rest >> 22);
    const int32_t half = (int32_t)((uint32_t)(2 * zero_point + 1) << (right - 1)) >> 1;
    return ((int32_t)(product >> 32) + half) >> (right - 1);
}

#endif
