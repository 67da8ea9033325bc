// An error through a dense layer and the ReLU in front.
// Golden twin: pytools/spikelet/learn/layers/dense_backward.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LEARN_DENSE_BACKWARD_H
#define SPK_LEARN_DENSE_BACKWARD_H

#include "learn/scalar.h"

struct spk_dense_backward {
    uint32_t inputs;
    uint32_t rows;
    struct spk_narrowing scale;
};

// error: (rows,); weight: (rows, inputs); x, to: (inputs,).
SPK_SHARED void spk_dense_backward(const struct spk_dense_backward *c, const spk_value *error,
                                   const spk_weight *weight, const spk_value *x, spk_value *to) {
    bool any = false;
    for (uint32_t o = 0; o < c->rows; o++) {
        any = any || error[o] != 0;
    }
    const uint32_t rows = any ? c->rows : 0;
    for (uint32_t i = 0; i < c->inputs; i++) {
        spk_sum sum = 0;
        for (uint32_t o = 0; o < rows; o++) {
            sum = spk_mac(sum, error[o], spk_widen(weight[o * c->inputs + i]));
        }
        to[i] = x[i] <= 0 ? (spk_value)0 : spk_value_of(sum, &c->scale);
    }
}

#endif
