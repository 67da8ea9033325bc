// Class means of features. Golden twin: pytools/spikelet/learn/learners/nearest_mean.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_NEAREST_MEAN_H
#define SPK_NEAREST_MEAN_H

#include "learn/feature.h"
#include "learn/fixed.h"

enum { SPK_MEAN_FRACTION = 4, SPK_MEAN_UNIT = 12 };

struct spk_nearest_mean {
    uint8_t type; // enum spk_dtype: of the features
    uint32_t n;
    int32_t limit;      // samples of a class
    bool cosine;        // weights have length 1, else they are means
    int32_t zero_point; // of the features, where a direction counts
    int32_t wide;       // the largest weight
    int32_t deep;       // the largest bias
};

SPK_INLINE int32_t spk_mean_clip(int64_t v, int32_t most) {
    return (int32_t)(v > most ? most : v < -most ? -most : v);
}

// Row `y` of the classifier: weight (n,), its bias.
SPK_INLINE void spk_mean_row(const struct spk_nearest_mean *c, int32_t count, const int32_t *sum,
                             int16_t *weight, int32_t *bias) {
    const int32_t zero = c->zero_point * (1 << SPK_MEAN_FRACTION);
    int64_t square = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        const int64_t mean = (int64_t)spk_mean(sum[i], (uint32_t)count, SPK_MEAN_FRACTION) - zero;
        weight[i] =
            (int16_t)(c->cosine ? spk_sat16(spk_sat32(mean)) : spk_mean_clip(mean, c->wide));
        square += (int32_t)weight[i] * weight[i];
    }
    int64_t offset = -spk_shift_round64(square, SPK_MEAN_FRACTION + 1);
    if (c->cosine) {
        const uint32_t root = spk_isqrt(square);
        const int32_t length = root == 0 ? 1 : (int32_t)root;
        int64_t total = 0;
        for (uint32_t i = 0; i < c->n; i++) {
            weight[i] = (int16_t)spk_divide((int32_t)weight[i] * (1 << SPK_MEAN_UNIT), length);
            total += weight[i];
        }
        offset = -c->zero_point * total;
    }
    *bias = spk_mean_clip(offset, c->deep);
}

// features: (n,); count, bias: (classes,); sum, weight: (classes, n); health: skipped samples.
SPK_INLINE void spk_nearest_mean_learn(const struct spk_nearest_mean *c, const void *features,
                                       const int32_t *label, int32_t *count, int32_t *sum,
                                       int16_t *weight, int32_t *bias, int32_t *health) {
    const uint32_t y = (uint32_t)*label;
    if (count[y] >= c->limit) {
        *health = spk_add_sat(*health, 1);
        return;
    }
    count[y]++;
    sum += y * c->n;
    for (uint32_t i = 0; i < c->n; i++) {
        sum[i] = spk_add(sum[i], spk_feature(features, i, c->type));
    }
    spk_mean_row(c, count[y], sum, weight + y * c->n, &bias[y]);
}

#endif
