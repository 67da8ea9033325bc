// Mean over axes of an int8 tensor. Golden twin: pytools/spikelet/graph/ops/mean.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_MEAN_H
#define SPK_MEAN_H

#include "kernels/requantise.h"

struct spk_mean {
    uint32_t outer; // the input is (outer, count, inner), the output (outer, inner)
    uint32_t count;
    uint32_t inner;
    int32_t zeros; // count * zero point of the input
    int32_t multiplier;
    int32_t shift;
    int32_t zero;
};

SPK_INLINE void spk_mean_s8(const struct spk_mean *c, const int8_t *x, int8_t *y) {
    for (uint32_t i = 0; i < c->outer; i++) {
        for (uint32_t k = 0; k < c->inner; k++) {
            const int8_t *cell = x + i * c->count * c->inner + k;
            int32_t sum = -c->zeros;
            for (uint32_t j = 0; j < c->count; j++) {
                sum += *cell;
                cell += c->inner;
            }
            const int32_t code = spk_requantise(sum, c->multiplier, c->shift);
            *y++ = (int8_t)(spk_clamp(code, INT8_MIN - c->zero, INT8_MAX - c->zero) + c->zero);
        }
    }
}

#endif
