// Largest or lowest code over an axis. Golden twins:
// pytools/spikelet/graph/ops/reduce_{max,min}.py. SPDX-License-Identifier: Apache-2.0
#ifndef SPK_REDUCE_MAX_H
#define SPK_REDUCE_MAX_H

#include "kernels/fixed.h"

// x: (outer, count, inner); y: (outer, inner).
SPK_INLINE void spk_reduce_max_s8(const int8_t *x, uint32_t outer, uint32_t count, uint32_t inner,
                                  bool lowest, int8_t *y) {
    for (uint32_t i = 0; i < outer; i++, x += count * inner) {
        for (uint32_t k = 0; k < inner; k++) {
            int8_t best = x[k];
            for (uint32_t j = 1; j < count; j++) {
                const int8_t code = x[j * inner + k];
                if (lowest ? code < best : code > best) {
                    best = code;
                }
            }
            *y++ = best;
        }
    }
}

#endif
