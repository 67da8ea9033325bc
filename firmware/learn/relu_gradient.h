// An error through a ReLU. Golden twin: pytools/spikelet/learn/layers/relu_gradient.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_RELU_GRADIENT_H
#define SPK_RELU_GRADIENT_H

#include "learn/scalar.h"

SPK_INLINE void spk_relu_gradient(uint32_t n, const spk_value *error, const spk_value *y,
                                  spk_value *to) {
    for (uint32_t i = 0; i < n; i++) {
        to[i] = y[i] > 0 ? error[i] : (spk_value)0;
    }
}

#endif
