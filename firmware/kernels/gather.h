// Elements along one axis by index. Golden twin: pytools/spikelet/graph/ops/gather.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_GATHER_H
#define SPK_GATHER_H

#include "kernels/fixed.h"

// x: (outer, length, inner); indices: (n,) below length; y: (outer, n, inner).
SPK_INLINE void spk_gather_s8(const int8_t *x, uint32_t outer, uint32_t length, uint32_t inner,
                              const uint16_t *indices, uint32_t n, int8_t *y) {
    for (uint32_t o = 0; o < outer; o++, x += length * inner) {
        for (uint32_t i = 0; i < n; i++) {
            const int8_t *from = x + indices[i] * inner;
            for (uint32_t k = 0; k < inner; k++) {
                *y++ = from[k];
            }
        }
    }
}

#endif
