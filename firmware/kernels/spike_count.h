// Spikes of each neuron so far. Golden twin: pytools/spikelet/graph/ops/spike_count.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_SPIKE_COUNT_H
#define SPK_SPIKE_COUNT_H

#include "kernels/fixed.h"

// spikes: (n,) bits; counts: (n,) int16.
SPK_INLINE void spk_spike_count(const uint32_t *spikes, uint32_t n, int16_t *counts) {
    for (uint32_t i = 0; i < (n + 31) / 32; i++) {
        for (uint32_t bits = spikes[i]; bits != 0;) {
            counts[i * 32 + spk_take_lowest(&bits)]++;
        }
    }
}

// spikes: (n,) of neurons that spike several times in a step; counts: (n,) int16.
SPK_INLINE void spk_spike_count_u8(const uint8_t *spikes, uint32_t n, int16_t *counts) {
    for (uint32_t i = 0; i < n; i++) {
        counts[i] = (int16_t)(counts[i] + spikes[i]);
    }
}

#endif
