// Direct coding: a value is a constant current. Golden twin: pytools/spikelet/graph/ops/direct.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_DIRECT_H
#define SPK_DIRECT_H

#include "kernels/fixed.h"

// values: (n,) uint8; current: (n,) int16.
SPK_INLINE void spk_direct(const uint8_t *values, uint32_t n, int32_t zero_point, int32_t gain,
                           int16_t *current) {
    for (uint32_t i = 0; i < n; i++) {
        current[i] = (int16_t)((values[i] - zero_point) * gain);
    }
}

#endif
