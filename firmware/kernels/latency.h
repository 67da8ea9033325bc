// Latency coding: one spike, the earlier the larger. Golden twin:
// pytools/spikelet/graph/ops/latency.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LATENCY_H
#define SPK_LATENCY_H

#include "kernels/fixed.h"

// values: (n,) uint8, 0 never spikes; spikes: (n,) bits.
SPK_INLINE void spk_latency(const uint8_t *values, uint32_t n, uint32_t t, uint32_t steps,
                            uint32_t *spikes) {
    for (uint32_t base = 0; base < n; base += 32) {
        const uint32_t count = spk_min_u32(32, n - base);
        uint32_t bits = 0;
        for (uint32_t k = 0; k < count; k++) {
            const uint32_t x = values[base + k];
            if (x != 0 && ((255 - x) * steps) >> 8 == t) {
                bits |= 1u << k;
            }
        }
        spikes[base / 32] = bits;
    }
}

#endif
