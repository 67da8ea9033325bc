// Running sums along one axis of an int8 tensor. Golden twin: pytools/spikelet/graph/ops/cumsum.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_CUMSUM_H
#define SPK_CUMSUM_H

#include "kernels/requantise.h"

struct spk_cumsum {
    uint32_t outer; // both tensors are (outer, count, inner)
    uint32_t count;
    uint32_t inner;
    int32_t from;  // zero point of the input
    uint32_t left; // shift of a sum, before
    int32_t multiplier;
    int32_t shift;
    int32_t zero;
    bool exclusive; // a sum is without the element at its own place
    bool reverse;   // sums begin at the end
};

// x, y: (outer, count, inner); y may lie exactly over x.
SPK_INLINE void spk_cumsum_s8(const struct spk_cumsum *c, const int8_t *x, int8_t *y) {
    for (uint32_t i = 0; i < c->outer; i++) {
        for (uint32_t k = 0; k < c->inner; k++) {
            int32_t sum = 0;
            for (uint32_t j = 0; j < c->count; j++) {
                const uint32_t row = i * c->count + (c->reverse ? c->count - 1 - j : j);
                const uint32_t at = row * c->inner + k;
                const int32_t next = sum + x[at] - c->from;
                const int32_t wide = (c->exclusive ? sum : next) * (1 << c->left);
                const int32_t code = spk_requantise(wide, c->multiplier, c->shift);
                y[at] = (int8_t)(spk_clamp(code, INT8_MIN - c->zero, INT8_MAX - c->zero) + c->zero);
                sum = next;
            }
        }
    }
}

#endif
