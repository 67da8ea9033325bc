// Any function of one 8-bit code, as a table. Golden twin: pytools/spikelet/graph/int8.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LOOKUP_H
#define SPK_LOOKUP_H

#include "kernels/fixed.h"

// x, y: (n,) int8 or uint8; table: (256,) by the code's byte.
SPK_INLINE void spk_lookup(const void *x, uint32_t n, const int8_t *table, void *y) {
    const uint8_t *codes = x;
    int8_t *to = y;
    for (uint32_t i = 0; i < n; i++) {
        to[i] = table[codes[i]];
    }
}

#endif
