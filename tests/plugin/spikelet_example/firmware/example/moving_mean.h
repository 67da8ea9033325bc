// Class means that forget. Golden twin: spikelet_example/moving_mean.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_EXAMPLE_MOVING_MEAN_H
#define SPK_EXAMPLE_MOVING_MEAN_H

#include "learn/fixed.h"

enum { SPK_EXAMPLE_FRACTION = 7 };

struct spk_example_moving_mean {
    uint32_t n;
    uint8_t shift;
};

// features: (n,); count, bias: (classes,); mean: (classes, n).
SPK_INLINE void spk_example_moving_mean_learn(const struct spk_example_moving_mean *c,
                                              const int8_t *features, const int32_t *label,
                                              int32_t *count, int16_t *mean, int32_t *bias) {
    const uint32_t y = (uint32_t)*label;
    int64_t square = 0;
    mean += y * c->n;
    for (uint32_t i = 0; i < c->n; i++) {
        const int32_t x = features[i] * (1 << SPK_EXAMPLE_FRACTION);
        mean[i] = (int16_t)(count[y] == 0 ? x : spk_ema(mean[i], x, c->shift));
        square += (int32_t)mean[i] * mean[i];
    }
    count[y] = spk_add_sat(count[y], 1);
    bias[y] = -(int32_t)(square >> (SPK_EXAMPLE_FRACTION + 1));
}

#endif
