// Penalties that hold weights near those of old tasks. Golden twin:
// pytools/spikelet/learn/layers/penalty.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_PENALTY_H
#define SPK_PENALTY_H

#include "learn/feature.h"
#include "learn/fixed.h"

#define SPK_PENALTY_CODES 240 // the highest importance
#define SPK_PENALTY_NEAR 32   // difference of importances beyond which the smaller adds nothing

// Counts a sample: whether it is the last of `every`.
SPK_INLINE bool spk_penalty_last(int32_t *count, int32_t every) {
    *count = *count + 1 >= every ? 0 : *count + 1;
    return *count == 0;
}

SPK_INLINE int32_t spk_penalty_code(const void *codes, bool narrow, uint32_t i) {
    return narrow ? ((const int8_t *)codes)[i] : ((const int16_t *)codes)[i];
}

// Part of the distance to the anchor that a weight goes back, Q15; the anchor stands for the
// weights from anchor << shift to the next, and within them there is no way to go.
SPK_INLINE int32_t spk_penalty_back(int32_t w, int32_t anchor, uint32_t shift, int32_t part) {
    const int32_t low = anchor * (1 << shift);
    const int32_t high = low + (1 << shift) - 1;
    const int32_t away = w < low ? w - low : w > high ? w - high : 0;
    return w - spk_shift_round(away * part, 15);
}

// weight: (n,) int16, or int8 (narrow); anchor: (n,) as the weight, or int8 (coarse); importance:
// (n,) or 0, then all weights are alike and `parts` has one element, else one for each importance;
// rate: Q15, or 0 for 1.0.
SPK_INLINE void spk_penalty_pull(uint32_t n, bool narrow, bool coarse, uint32_t shift,
                                 const int16_t *parts, const uint8_t *importance,
                                 const void *anchor, const int32_t *rate, void *weight) {
    for (uint32_t i = 0; i < n; i++) {
        int32_t part = parts[importance ? importance[i] : 0];
        if (part == 0) {
            continue;
        }
        if (rate) {
            part = (part * *rate) >> 15;
        }
        const int32_t old = spk_penalty_code(anchor, narrow || coarse, i);
        const int32_t now = spk_penalty_back(spk_penalty_code(weight, narrow, i), old, shift, part);
        if (narrow) {
            ((int8_t *)weight)[i] = (int8_t)now;
        } else {
            ((int16_t *)weight)[i] = (int16_t)now;
        }
    }
}

struct spk_own_error {
    uint32_t classes;
    int32_t one; // an error of 1
    int32_t every;
};

// What the softmax said of class i, of which the error is what is left without the label.
SPK_INLINE int32_t spk_penalty_said(const struct spk_own_error *c, const int16_t *error,
                                    int32_t label, uint32_t i) {
    const int32_t p = error[i] + ((int32_t)i == label ? c->one : 0);
    return p < 0 ? 0 : p > c->one ? c->one : p;
}

// The error of a label drawn from what the softmax said; 0 but in the last of `every` samples.
// error, to: (classes,).
SPK_INLINE void spk_penalty_own_error(const struct spk_own_error *c, const int16_t *error,
                                      int32_t label, uint32_t *random, int32_t *count,
                                      int16_t *to) {
    if (!spk_penalty_last(count, c->every)) {
        spk_clear(to, c->classes * (uint32_t)sizeof(int16_t));
        return;
    }
    uint32_t total = 0;
    for (uint32_t i = 0; i < c->classes; i++) {
        total += (uint32_t)spk_penalty_said(c, error, label, i);
    }
    *random = spk_xorshift32(*random);
    uint32_t rest = (uint32_t)(((uint64_t)*random * total) >> 32);
    bool drawn = false;
    for (uint32_t i = 0; i < c->classes; i++) {
        const int32_t p = spk_penalty_said(c, error, label, i);
        const bool here = !drawn && (rest < (uint32_t)p || i == c->classes - 1);
        rest -= (uint32_t)p; // read before it is drawn only
        drawn = drawn || here;
        to[i] = (int16_t)(p - (here ? c->one : 0));
    }
}

struct spk_importance {
    uint32_t in;       // presynaptic elements
    uint32_t out;      // postsynaptic elements
    int32_t zero;      // the code of pre that means 0
    bool squared;      // else sizes are counted
    uint32_t pre_down; // a square or size of pre enters as it is >> pre_down
    uint32_t post_down;
    const uint32_t *steps; // (SPK_PENALTY_CODES,) from each importance to the next
};

SPK_INLINE uint32_t spk_importance_of(int32_t v, bool squared, uint32_t down) {
    const uint32_t size = v < 0 ? 0u - (uint32_t)v : (uint32_t)v;
    return (squared ? size * size : size) >> down;
}

// Adds pre * post, of each weight, to what `gathered` (out, in) has counted; post: (out,).
SPK_INLINE void spk_importance_gather(const struct spk_importance *c, const void *pre,
                                      enum spk_dtype type, const int16_t *post, uint32_t *state,
                                      uint8_t *gathered) {
    uint32_t random = *state;
    for (uint32_t o = 0; o < c->out; o++, gathered += c->in) {
        const uint32_t u = spk_importance_of(post[o], c->squared, c->post_down);
        if (u == 0) {
            continue;
        }
        for (uint32_t i = 0; i < c->in; i++) {
            const uint32_t v =
                spk_importance_of(spk_feature(pre, i, type) - c->zero, c->squared, c->pre_down);
            if (v == 0) {
                continue;
            }
            uint32_t rest = u * v;
            uint32_t code = gathered[i];
            random = spk_xorshift32(random);
            while (code < SPK_PENALTY_CODES && rest >= c->steps[code]) {
                rest -= c->steps[code++];
            }
            if (code < SPK_PENALTY_CODES &&
                (uint32_t)(((uint64_t)random * c->steps[code]) >> 32) < rest) {
                code++;
            }
            gathered[i] = (uint8_t)code;
        }
    }
    *state = random;
}

// What was gathered joins the importance: the logarithm of the sum. sums: (SPK_PENALTY_NEAR,) what
// the smaller adds to the larger, by their difference.
SPK_INLINE void spk_importance_join(uint32_t n, const uint8_t *sums, uint8_t *gathered,
                                    uint8_t *importance) {
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t a = gathered[i];
        const uint32_t b = importance[i];
        const uint32_t high = a > b ? a : b;
        const uint32_t low = a > b ? b : a;
        const uint32_t more = low != 0 && high - low < SPK_PENALTY_NEAR ? sums[high - low] : 0;
        importance[i] = (uint8_t)spk_min_u32(high + more, SPK_PENALTY_CODES);
        gathered[i] = 0;
    }
}

// The weights as they are become the anchor.
SPK_INLINE void spk_penalty_anchor(uint32_t n, bool narrow, bool coarse, uint32_t shift,
                                   const void *weight, void *anchor) {
    for (uint32_t i = 0; i < n; i++) {
        const int32_t w = spk_penalty_code(weight, narrow, i) >> shift;
        if (narrow || coarse) {
            ((int8_t *)anchor)[i] = (int8_t)w;
        } else {
            ((int16_t *)anchor)[i] = (int16_t)w;
        }
    }
}

#endif
