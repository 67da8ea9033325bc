// Index of the largest value. Golden twin: pytools/spikelet/graph/ops/argmax.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_ARGMAX_H
#define SPK_ARGMAX_H

#include "kernels/fixed.h"

// values: (n,) int16 or int32 (wide); the first one wins a tie.
SPK_INLINE void spk_argmax(const void *values, uint32_t n, bool wide, int32_t *index) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        if (spk_load(values, i, wide) > spk_load(values, best, wide)) {
            best = i;
        }
    }
    *index = (int32_t)best;
}

SPK_INLINE void spk_argmax_s8(const int8_t *values, uint32_t n, int32_t *index) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        if (values[i] > values[best]) {
            best = i;
        }
    }
    *index = (int32_t)best;
}

#endif
