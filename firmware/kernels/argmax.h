// Index of the largest value of a row. Golden twin: pytools/spikelet/graph/ops/argmax.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_ARGMAX_H
#define SPK_ARGMAX_H

#include "kernels/fixed.h"

// values: (rows, n) int16 or int32 (wide); index: (rows,), the first one wins a tie.
SPK_INLINE void spk_argmax(const void *values, uint32_t rows, uint32_t n, bool wide,
                           int32_t *index) {
    for (uint32_t row = 0; row < rows; row++) {
        uint32_t best = row * n;
        for (uint32_t i = best + 1; i < row * n + n; i++) {
            if (spk_load(values, i, wide) > spk_load(values, best, wide)) {
                best = i;
            }
        }
        index[row] = (int32_t)(best - row * n);
    }
}

SPK_INLINE void spk_argmax_s8(const int8_t *values, uint32_t rows, uint32_t n, int32_t *index) {
    for (uint32_t row = 0; row < rows; row++, values += n) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < n; i++) {
            if (values[i] > values[best]) {
                best = i;
            }
        }
        index[row] = (int32_t)best;
    }
}

#endif
