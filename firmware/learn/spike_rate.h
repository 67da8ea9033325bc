// Firing rates as codes of 8 bits. Golden twin: pytools/spikelet/learn/layers/spike_rate.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_SPIKE_RATE_H
#define SPK_SPIKE_RATE_H

#include "learn/feature.h"

// counts: (n,) int16, 0 to the number of steps; rates: (n,) int8, 127 for a spike in every step.
SPK_INLINE void spk_spike_rate(const int16_t *counts, uint32_t n, int32_t multiplier,
                               int8_t *rates) {
    for (uint32_t i = 0; i < n; i++) {
        rates[i] = (int8_t)(spk_feature_mac(0x8000, counts[i], multiplier) >> 16);
    }
}

#endif
