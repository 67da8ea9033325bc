// Sums or membranes as int8 codes. Golden twin: pytools/spikelet/graph/ops/codes.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_CODES_H
#define SPK_CODES_H

#include "kernels/requantise.h"

struct spk_codes {
    uint32_t n;                // elements
    uint32_t channels;         // of the last axis, or 1
    int32_t low;               // lowest code
    int32_t high;              // highest code
    bool wide;                 // input is int32, else int16
    const int32_t *multiplier; // (channels,)
    const int8_t *shift;       // (channels,) > 0 to the left
};

// input: (n,) int16 or int32; codes: (n,).
SPK_INLINE void spk_codes_s8(const struct spk_codes *c, const void *input, int8_t *codes) {
    for (uint32_t i = 0, k = 0; i < c->n; i++) {
        const int32_t x =
            spk_requantise(spk_load(input, i, c->wide), c->multiplier[k], c->shift[k]);
        codes[i] = (int8_t)(x < c->low ? c->low : x > c->high ? c->high : x);
        k = k + 1 == c->channels ? 0 : k + 1;
    }
}

#endif
