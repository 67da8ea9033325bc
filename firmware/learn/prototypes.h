// Classes as rows of learned integers. Golden twin: pytools/spikelet/learn/bases/prototypes.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_PROTOTYPES_H
#define SPK_PROTOTYPES_H

#include "learn/feature.h"
#include "learn/fixed.h"

// features: (n,) of a type; weight: (classes, n); bias, count, scores: (classes,).
SPK_INLINE void spk_linear_scores(const void *features, enum spk_dtype type, uint32_t n,
                                  uint32_t classes, const int16_t *weight, const int32_t *bias,
                                  const int32_t *count, int32_t *scores) {
    for (uint32_t c = 0; c < classes; c++, weight += n) {
        int32_t sum = bias[c];
        SPK_UNROLL(4)
        for (uint32_t i = 0; i < n; i++) {
            sum = spk_feature_mac(sum, spk_feature(features, i, type), weight[i]);
        }
        scores[c] = count[c] > 0 ? sum : INT32_MIN;
    }
}

// What is left of `square` at a score: a squared distance.
SPK_INLINE int32_t spk_distance(int64_t square, int64_t score) {
    const int64_t distance = square - 2 * score;
    return distance < 0 ? 0 : spk_sat32(distance);
}

// features: (n,) of a type; scores, distances: (classes,).
SPK_INLINE void spk_euclidean_distances(const void *features, enum spk_dtype type, uint32_t n,
                                        uint32_t classes, uint32_t fraction, const int32_t *scores,
                                        int32_t *distances) {
    int64_t square = 0;
    for (uint32_t i = 0; i < n; i++) {
        const int64_t f = spk_feature(features, i, type);
        square += f * f;
    }
    square <<= fraction;
    for (uint32_t c = 0; c < classes; c++) {
        distances[c] = scores[c] == INT32_MIN ? INT32_MAX : spk_distance(square, scores[c]);
    }
}

#endif
