// Median of three neighbours. Golden twin: spikelet_example/median3.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_EXAMPLE_MEDIAN3_H
#define SPK_EXAMPLE_MEDIAN3_H

#include "kernels/fixed.h"

// x, y: (n,), n >= 3.
SPK_INLINE void spk_example_median3_s8(const int8_t *x, uint32_t n, int8_t *y) {
    y[0] = x[0];
    for (uint32_t i = 1; i + 1 < n; i++) {
        const int8_t low = x[i - 1] < x[i] ? x[i - 1] : x[i];
        const int8_t high = x[i - 1] < x[i] ? x[i] : x[i - 1];
        const int8_t next = x[i + 1];
        y[i] = next < low ? low : next > high ? high : next;
    }
    y[n - 1] = x[n - 1];
}

#endif
