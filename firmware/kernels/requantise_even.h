// Codes of int32 sums, halves to even. Golden twin: pytools/spikelet/graph/requantise_even.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_REQUANTISE_EVEN_H
#define SPK_REQUANTISE_EVEN_H

#include "kernels/fixed.h"

// How many of `count` ascending steps a sum reaches.
SPK_SHARED uint32_t spk_steps_reached(int32_t sum, const int32_t *steps, uint32_t count) {
    const int32_t *from = steps;
    while (count > 0) {
        const uint32_t half = count / 2;
        if (sum >= from[half]) {
            from += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return (uint32_t)(from - steps);
}

// line: {multiplier >= 0, right 1 to 62, offset's low word, its high word}.
// (sum * multiplier + offset) / 2^right, rounded down; an odd integer without rest less 1.
SPK_SHARED int32_t spk_requantise_even(int32_t sum, const int32_t *line) {
    const uint64_t offset = (uint64_t)(uint32_t)line[3] << 32 | (uint32_t)line[2];
    const uint64_t product = (uint64_t)spk_signed_product(sum, line[0]) + offset;
    const uint32_t low = (uint32_t)product;
    const uint32_t high = (uint32_t)(product >> 32);
    const uint32_t right = (uint32_t)line[1];
    uint32_t rest; // no shift of 64 bits by a variable: some cores call a library for it
    int32_t whole;
    if (right >= 32) {
        rest = (high & ((1u << (right - 32)) - 1)) | low;
        whole = (int32_t)high >> (right - 32);
    } else {
        rest = low & ((1u << right) - 1);
        whole = (int32_t)(high << (32 - right) | low >> right);
    }
    return whole - (rest == 0 ? whole & 1 : 0);
}

#endif
