// The error of a mean squared error. Golden twin: pytools/spikelet/learn/layers/mse.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LEARN_MSE_H
#define SPK_LEARN_MSE_H

#include "learn/scalar.h"

#if SPK_SCALAR_FLOAT

// y, target, error: (n,), error may lie over y; health: (1,) samples skipped. Whether it diverged.
SPK_INLINE bool spk_mse(uint32_t n, float factor, const float *y, const float *target,
                        int32_t *health, float *error) {
    bool finite = true;
    for (uint32_t i = 0; i < n; i++) {
        finite = finite && y[i] < 0x1p64f && y[i] > -0x1p64f;
    }
    *health += !finite && *health < INT32_MAX;
    for (uint32_t i = 0; i < n; i++) {
        error[i] = finite ? (y[i] - target[i]) * factor : 0.0f;
    }
    return !finite;
}

#else

struct spk_mse {
    uint32_t n;
    struct spk_narrowing scale; // of the error
};

// y, target, error: (n,), error may lie over y.
SPK_INLINE void spk_mse(const struct spk_mse *c, const int16_t *y, const int16_t *target,
                        int16_t *error) {
    for (uint32_t i = 0; i < c->n; i++) {
        error[i] = spk_narrow(y[i] - target[i], &c->scale);
    }
}

#endif

#endif
