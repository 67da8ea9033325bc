// Sum of one or two tensors of values, each times a number. Golden twin:
// pytools/spikelet/learn/layers/weighted_sum.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LEARN_WEIGHTED_SUM_H
#define SPK_LEARN_WEIGHTED_SUM_H

#include "learn/scalar.h"

struct spk_weighted_sum {
    uint32_t size;
    struct spk_source a, b;
    bool two; // there is a b
    bool relu;
#if SPK_SCALAR_FLOAT
    float gain_a, gain_b;
#else
    int32_t gain_a, gain_b; // times 2^shift
    uint32_t shift;         // 1 to 30
    int32_t limit;          // outputs saturate at +-limit
#endif
};

// a, b: (size,) values or codes; kept: (size,) what masks the output, or 0; y: (size,).
// y may lie over an input of values.
SPK_INLINE void spk_weighted_sum(const struct spk_weighted_sum *c, const void *a, const void *b,
                                 const spk_value *kept, spk_value *y) {
    for (uint32_t i = 0; i < c->size; i++) {
        spk_sum sum = spk_source(&c->a, a, i) * c->gain_a;
        if (c->two) {
            sum = spk_mac(sum, c->gain_b, spk_source(&c->b, b, i));
        }
#if !SPK_SCALAR_FLOAT
        sum = (sum + (1 << (c->shift - 1))) >> c->shift;
        sum = spk_clip(sum, c->limit);
#endif
        const bool off = (c->relu && sum < 0) || (kept && !(kept[i] > 0));
        y[i] = off ? 0 : (spk_value)sum;
    }
}

#endif
