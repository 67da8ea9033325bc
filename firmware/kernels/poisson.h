// Bernoulli (rate) coding. Golden twin: pytools/spikelet/graph/ops/poisson.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_POISSON_H
#define SPK_POISSON_H

#include "kernels/fixed.h"

// A spike where value + a random byte carries out of 8 bits: four carries of one word at a time.
// values: (n,) uint8 in whole words; state: (1,) xorshift32; spikes: (n,) bits.
SPK_INLINE void spk_poisson(const uint32_t *values, uint32_t n, uint32_t *state, uint32_t *spikes) {
    const uint32_t top = 0x80808080u;
    uint32_t random = *state;
    for (uint32_t base = 0; base < n; base += 32) {
        const uint32_t count = spk_min_u32(32, n - base);
        uint32_t bits = 0;
        SPK_UNROLL(2)
        for (uint32_t k = 0; k < count; k += 4) {
            random = spk_xorshift32(random);
            const uint32_t x = values[(base + k) / 4];
            const uint32_t low = (random & ~top) + (x & ~top); // carries into the top bits
            const uint32_t carries = ((random & x) | ((random ^ x) & low)) & top;
            // Gather bits 7, 15, 23, 31 into 28..31.
            bits |= (((carries >> 7) * 0x10204080u) >> 28) << k;
        }
        spikes[base / 32] = count < 32 ? bits & ((1u << count) - 1) : bits;
    }
    *state = random;
}

SPK_INLINE void spk_poisson_start(const uint32_t *seed, uint32_t *state) {
    *state = *seed != 0 ? *seed : 0x6D2B79F5u;
}

#endif
