// Integer codes as values. Golden twin: pytools/spikelet/learn/layers/to_scalar.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LEARN_TO_SCALAR_H
#define SPK_LEARN_TO_SCALAR_H

#include "learn/scalar.h"

struct spk_to_scalar {
    uint32_t n;
    int32_t zero_point;
    struct spk_narrowing scale;
};

SPK_INLINE spk_value spk_to_scalar(const struct spk_to_scalar *c, int32_t code) {
    return spk_narrow((spk_sum)spk_add(code, -c->zero_point), &c->scale);
}

// x, y: (n,)
#define SPK_TO_SCALAR(name, type)                                                                  \
    SPK_INLINE void spk_to_scalar_##name(const struct spk_to_scalar *c, const type *x,             \
                                         spk_value *y) {                                           \
        for (uint32_t i = 0; i < c->n; i++) {                                                      \
            y[i] = spk_to_scalar(c, x[i]);                                                         \
        }                                                                                          \
    }
SPK_TO_SCALAR(u8, uint8_t)
SPK_TO_SCALAR(i8, int8_t)
SPK_TO_SCALAR(i16, int16_t)
SPK_TO_SCALAR(i32, int32_t)
#undef SPK_TO_SCALAR

#endif
