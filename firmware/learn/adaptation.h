// Adaptation of an input's statistics. Golden twin: pytools/spikelet/learn/learners/adaptation.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_ADAPTATION_H
#define SPK_ADAPTATION_H

#include "learn/feature.h"
#include "learn/fixed.h"

enum {
    SPK_ADAPT_LEAST = 1 << 9, // gains Q12: 1/8 to 8
    SPK_ADAPT_MOST = 1 << 15,
    SPK_ADAPT_SHARE = 6,
    SPK_ADAPT_DRIFT = 6,
    SPK_ADAPT_BACK = 8,
};

struct spk_adapt {
    uint8_t type; // enum spk_dtype: of the input
    uint32_t n;   // elements; element i is of group i modulo groups
    uint32_t groups;
    const int32_t *spread; // (groups,) Q16, mean absolute deviation of the source
    int32_t floor;         // Q16, added to deviations
    uint32_t memory;       // log2 of the samples that are looked back
};

struct spk_drift {
    uint8_t type; // enum spk_dtype: of the features
    uint32_t n;
    uint32_t classes;
    const int16_t *source; // (classes, n)
    int32_t sure;          // least lead of a score
    uint32_t fraction;     // bits of weights and biases
};

// x, to: (n,) of a type; mean, source: (groups,) Q16; gain: (groups,) Q12.
SPK_INLINE void spk_adapt_input(const void *x, enum spk_dtype type, uint32_t n, uint32_t groups,
                                const int32_t *mean, const int32_t *gain, const int32_t *source,
                                void *to) {
    const int32_t low = type == SPK_U8 ? 0 : INT8_MIN;
    const int32_t high = type == SPK_U8 ? UINT8_MAX : INT8_MAX;
    for (uint32_t g = 0; g < groups; g++) {
        const int32_t centre = mean[g] >> 10;
        const int32_t offset = source[g] * 4;
        for (uint32_t i = g; i < n; i += groups) {
            const int32_t apart = spk_feature(x, i, type) * 64 - centre;
            const int32_t y = spk_shift_round(apart * gain[g] + offset, 18);
            ((uint8_t *)to)[i] = (uint8_t)(y < low ? low : y > high ? high : y);
        }
    }
}

// x: (n,); mean, deviation: (groups,) Q16; gain: (groups,) Q12.
SPK_INLINE void spk_adapt_learn(const struct spk_adapt *c, const void *x, int32_t *mean,
                                int32_t *deviation, int32_t *gain) {
    const uint32_t rows = c->n / c->groups;
    for (uint32_t g = 0; g < c->groups; g++) {
        const int32_t centre = mean[g] >> 10;
        int32_t total = 0;
        int32_t apart = 0;
        for (uint32_t i = g; i < c->n; i += c->groups) {
            const int32_t value = spk_feature(x, i, c->type);
            const int32_t far = value * 64 - centre;
            total += value;
            apart += far < 0 ? -far : far;
        }
        mean[g] = spk_ema(mean[g], spk_mean(total, rows, 16), c->memory);
        deviation[g] = spk_ema(deviation[g], spk_mean(apart, rows, 10), c->memory);
        const int32_t above = (c->spread[g] + c->floor) >> 8;
        const int32_t below = (deviation[g] + c->floor) >> 8;
        const int32_t found = spk_divide(above * (1 << 12), below);
        gain[g] = found < SPK_ADAPT_LEAST  ? SPK_ADAPT_LEAST
                  : found > SPK_ADAPT_MOST ? SPK_ADAPT_MOST
                                           : found;
    }
}

// features: (n,); scores, bias: (classes,); weight: (classes, n).
SPK_INLINE void spk_prototype_drift(const struct spk_drift *c, const void *features,
                                    const int32_t *scores, int16_t *weight, int32_t *bias) {
    int32_t lead;
    const uint32_t best = spk_margin(scores, c->classes, &lead);
    for (uint32_t k = 0; k < c->classes; k++) {
        int64_t square = 0;
        for (uint32_t i = 0; i < c->n; i++) {
            const uint32_t at = k * c->n + i;
            int32_t w = weight[at];
            if (k == best && lead >= c->sure) {
                const int32_t f = spk_feature(features, i, c->type) * (1 << c->fraction);
                w = spk_sat16(w + spk_shift_round(f - w, SPK_ADAPT_DRIFT));
            }
            w = spk_sat16(w + spk_shift_round(c->source[at] - w, SPK_ADAPT_BACK));
            weight[at] = (int16_t)w;
            square += w * w;
        }
        bias[k] = spk_sat32(-spk_shift_round64(square, c->fraction + 1));
    }
}

// How far the largest score is above the second, saturated; scores: (classes,) of a type.
SPK_INLINE int32_t spk_lead(const void *scores, enum spk_dtype type, uint32_t classes) {
    int32_t best = spk_feature(scores, 0, type);
    int32_t second = INT32_MIN;
    for (uint32_t c = 1; c < classes; c++) {
        const int32_t score = spk_feature(scores, c, type);
        if (score > best) {
            second = best;
            best = score;
        } else if (score > second) {
            second = score;
        }
    }
    return classes == 1 ? INT32_MAX : spk_sat32((int64_t)best - second);
}

// Whether to start anew. scores: (classes,) of a type; share: (1,) Q16.
SPK_INLINE bool spk_margin_watch(const void *scores, enum spk_dtype type, uint32_t classes,
                                 int32_t unsure, int32_t collapse, int32_t *share,
                                 int32_t *health) {
    const bool low = spk_lead(scores, type, classes) < unsure;
    *share = spk_ema(*share, low ? 1 << 16 : 0, SPK_ADAPT_SHARE);
    if (*share <= collapse) {
        return false;
    }
    *share = 0;
    *health = spk_add_sat(*health, 1);
    return true;
}

// to, first: (n,) int32 (wide) or int16.
SPK_INLINE void spk_restart(void *to, const void *first, uint32_t n, bool wide) {
    for (uint32_t i = 0; i < n; i++) {
        spk_store(to, i, wide, spk_load(first, i, wide));
    }
}

#endif
