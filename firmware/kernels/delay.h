// Spikes that arrive later. Golden twin: pytools/spikelet/graph/ops/delay.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_DELAY_H
#define SPK_DELAY_H

#include "kernels/fixed.h"

// spikes, delayed: (words,) of bits; steps: (neurons,) below `rows`; ring: (rows, words); *at: the
// row of now. A host may have written any *at.
SPK_INLINE void spk_delay(const uint32_t *spikes, uint32_t words, const uint8_t *steps,
                          uint32_t rows, uint32_t *ring, int32_t *at, uint32_t *delayed) {
    const uint32_t now = (uint32_t)*at < rows ? (uint32_t)*at : 0;
    for (uint32_t i = 0; i < words; i++) {
        for (uint32_t bits = spikes[i]; bits != 0;) {
            const uint32_t bit = spk_take_lowest(&bits);
            uint32_t row = now + steps[32 * i + bit];
            row = row < rows ? row : row - rows;
            ring[row * words + i] |= 1u << bit;
        }
    }
    uint32_t *here = ring + now * words;
    for (uint32_t i = 0; i < words; i++) {
        delayed[i] = here[i];
        here[i] = 0;
    }
    *at = (int32_t)(now + 1 < rows ? now + 1 : 0);
}

#endif
