// Channels of codes, standardised. Golden twin: pytools/spikelet/learn/learners/ladder.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LEARN_LADDER_H
#define SPK_LEARN_LADDER_H

#include "learn/scalar.h"

struct spk_standardise {
    uint32_t channels;
    int32_t zero_point;
    bool is_signed;        // codes are i8, else u8
    const spk_sum *gain;   // (channels,); on integers times 2^shift
    const spk_sum *offset; // (channels,); on integers times 2^shift
#if !SPK_SCALAR_FLOAT
    uint32_t shift; // 1 to 24
    int32_t limit;  // outputs saturate at +-limit
#endif
};

// x: (channels,) codes; y: (channels,).
SPK_INLINE void spk_standardise(const struct spk_standardise *c, const void *x, spk_value *y) {
    for (uint32_t i = 0; i < c->channels; i++) {
        const int32_t raw = c->is_signed ? ((const int8_t *)x)[i] : ((const uint8_t *)x)[i];
        const int32_t code = raw - c->zero_point;
#if SPK_SCALAR_FLOAT
        y[i] = spk_mac(c->offset[i], (float)code, c->gain[i]);
#else
        const int32_t sum = code * c->gain[i] + c->offset[i] + (1 << (c->shift - 1));
        y[i] = (spk_value)spk_clip(sum >> c->shift, c->limit);
#endif
    }
}

#endif
