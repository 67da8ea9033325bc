// Sums of sums, and a weight for each spike.
// Golden twins: pytools/spikelet/graph/ops/{sum,one_to_one}.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_SUMS_H
#define SPK_SUMS_H

#include "kernels/fixed.h"

// a, b, y: (n,), each int32 (wide) or int16; y may be a.
SPK_INLINE void spk_add_sums(const void *a, bool a_wide, const void *b, bool b_wide, uint32_t n,
                             bool y_wide, void *y) {
    SPK_UNROLL(4)
    for (uint32_t i = 0; i < n; i++) {
        spk_store(y, i, y_wide, spk_add(spk_load(a, i, a_wide), spk_load(b, i, b_wide)));
    }
}

// spikes: (n,) bits; weight: (k,), k divides n; y: (n,).
SPK_INLINE void spk_one_to_one(const uint32_t *spikes, uint32_t n, const int16_t *weight,
                               uint32_t k, int16_t *y) {
    for (uint32_t i = 0, j = 0; i < n; i++) {
        const uint32_t spike = spikes[i / 32] >> (i % 32) & 1;
        y[i] = spike ? weight[j] : 0;
        j = j + 1 == k ? 0 : j + 1;
    }
}

// The same of neurons that spike several times in a step. spikes: (n,); no product leaves 16 bits.
SPK_INLINE void spk_one_to_one_counts(const uint8_t *spikes, uint32_t n, const int16_t *weight,
                                      uint32_t k, int16_t *y) {
    for (uint32_t i = 0, j = 0; i < n; i++) {
        y[i] = (int16_t)spk_times(weight[j], spikes[i]);
        j = j + 1 == k ? 0 : j + 1;
    }
}

#endif
