// The error of softmax and cross-entropy.
// Golden twin: pytools/spikelet/learn/layers/softmax_cross_entropy.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LEARN_SOFTMAX_CROSS_ENTROPY_H
#define SPK_LEARN_SOFTMAX_CROSS_ENTROPY_H

#include "learn/scalar.h"

#if SPK_SCALAR_FLOAT

// logits, error: (classes,), may be the same; health: (1,) samples skipped. Whether it diverged.
SPK_SHARED bool spk_softmax_cross_entropy(uint32_t classes, const float *logits, int32_t label,
                                          int32_t *health, float *error) {
    float most = logits[0];
    bool finite = true;
    for (uint32_t i = 0; i < classes; i++) {
        most = logits[i] > most ? logits[i] : most;
        finite = finite && logits[i] < 0x1p64f && logits[i] > -0x1p64f;
    }
    if (!finite) {
        spk_clear(error, classes * (uint32_t)sizeof(float));
        *health += *health < INT32_MAX;
        return true;
    }
    float total = 0.0f;
    for (uint32_t i = 0; i < classes; i++) {
        error[i] = spk_exp(logits[i] - most);
        total += error[i];
    }
    const float inverse = 1.0f / total;
    for (uint32_t i = 0; i < classes; i++) {
        error[i] *= inverse;
    }
    error[label] -= 1.0f;
    return false;
}

#else

#include "learn/fixed.h"

struct spk_softmax_cross_entropy {
    uint32_t classes;
    struct spk_narrowing scale; // of a logit as an exponent of two in Q16
    uint32_t error_bits;
};

// A logit below the largest one by `down`, as a power of two in Q16.
SPK_INLINE uint32_t spk_entropy_power(const struct spk_softmax_cross_entropy *c, int32_t down) {
    const int64_t half = INT64_C(1) << (c->scale.shift - 1);
    const int64_t exponent = ((int64_t)down * c->scale.multiplier + half) >> c->scale.shift;
    return spk_exp2(exponent < -c->scale.limit ? -c->scale.limit : (int32_t)exponent);
}

// logits, error: (classes,), may be the same.
SPK_INLINE void spk_softmax_cross_entropy(const struct spk_softmax_cross_entropy *c,
                                          const int16_t *logits, int32_t label, int16_t *error) {
    int32_t most = logits[0];
    for (uint32_t i = 1; i < c->classes; i++) {
        most = logits[i] > most ? logits[i] : most;
    }
    uint32_t total = 0;
    for (uint32_t i = 0; i < c->classes; i++) {
        total += spk_entropy_power(c, logits[i] - most);
    }
    const uint32_t inverse = UINT32_MAX / total;
    const uint32_t shift = 32 - c->error_bits;
    for (uint32_t i = 0; i < c->classes; i++) {
        const uint32_t power = spk_entropy_power(c, logits[i] - most);
        // power <= total, so the product is below 2^32; its rounding may carry out.
        const uint32_t scaled = ((power * inverse >> (shift - 1)) + 1) >> 1;
        error[i] = (int16_t)((int32_t)scaled - ((int32_t)i == label ? 1 << c->error_bits : 0));
    }
}

#endif

#endif
