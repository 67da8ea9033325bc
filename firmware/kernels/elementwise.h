// Sum, difference, product, maximum, minimum of two int8 tensors, and ReLU with a tensor of slopes.
// Golden twins: pytools/spikelet/graph/ops/{add,sub,mul,maximum,minimum,prelu}.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_ELEMENTWISE_H
#define SPK_ELEMENTWISE_H

#include "kernels/requantise.h"

// dims: of the output; a_stride, b_stride: elements from one to the next in each dimension, 0 where
// an operand is broadcast. Of the multipliers, sum and difference use all, a product and the side
// of a PReLU below zero the last, its other side that of a.
struct spk_elementwise {
    uint32_t dims[4];
    uint32_t a_stride[4];
    uint32_t b_stride[4];
    int32_t a_zero;
    int32_t a_multiplier;
    int32_t a_shift;
    int32_t b_zero;
    int32_t b_multiplier;
    int32_t b_shift;
    int32_t multiplier;
    int32_t shift;
    int32_t zero;
    int32_t low;
    int32_t high;
};

enum spk_elementwise_op { SPK_ADD, SPK_SUB, SPK_MUL, SPK_MAXIMUM, SPK_MINIMUM, SPK_PRELU };
enum { SPK_SUM_SHIFT = 20 };

SPK_INLINE int8_t spk_combine(const struct spk_elementwise *c, enum spk_elementwise_op op,
                              int32_t a, int32_t b) {
    a -= c->a_zero;
    b -= c->b_zero;
    int32_t code;
    if (op == SPK_MAXIMUM || op == SPK_MINIMUM) {
        code = (a > b) == (op == SPK_MAXIMUM) ? a : b;
    } else if (op == SPK_PRELU && a >= 0) {
        code = spk_requantise(a, c->a_multiplier, c->a_shift);
    } else if (op == SPK_PRELU || op == SPK_MUL) {
        code = spk_requantise(a * b, c->multiplier, c->shift);
    } else {
        a = spk_requantise(a * (1 << SPK_SUM_SHIFT), c->a_multiplier, c->a_shift);
        b = spk_requantise(b * (1 << SPK_SUM_SHIFT), c->b_multiplier, c->b_shift);
        code = spk_requantise(op == SPK_ADD ? a + b : a - b, c->multiplier, c->shift);
    }
    return (int8_t)(spk_clamp(code, c->low - c->zero, c->high - c->zero) + c->zero);
}

SPK_INLINE void spk_elementwise_s8(const struct spk_elementwise *c, enum spk_elementwise_op op,
                                   const int8_t *a, const int8_t *b, int8_t *y) {
    for (uint32_t i = 0; i < c->dims[0]; i++) {
        for (uint32_t j = 0; j < c->dims[1]; j++) {
            for (uint32_t k = 0; k < c->dims[2]; k++) {
                const int8_t *pa = a + i * c->a_stride[0] + j * c->a_stride[1] + k * c->a_stride[2];
                const int8_t *pb = b + i * c->b_stride[0] + j * c->b_stride[1] + k * c->b_stride[2];
                for (uint32_t l = 0; l < c->dims[3]; l++) {
                    *y++ = spk_combine(c, op, *pa, *pb);
                    pa += c->a_stride[3];
                    pb += c->b_stride[3];
                }
            }
        }
    }
}

SPK_INLINE void spk_add_s8(const struct spk_elementwise *c, const int8_t *a, const int8_t *b,
                           int8_t *y) {
    spk_elementwise_s8(c, SPK_ADD, a, b, y);
}

SPK_INLINE void spk_sub_s8(const struct spk_elementwise *c, const int8_t *a, const int8_t *b,
                           int8_t *y) {
    spk_elementwise_s8(c, SPK_SUB, a, b, y);
}

SPK_INLINE void spk_mul_s8(const struct spk_elementwise *c, const int8_t *a, const int8_t *b,
                           int8_t *y) {
    spk_elementwise_s8(c, SPK_MUL, a, b, y);
}

SPK_INLINE void spk_maximum_s8(const struct spk_elementwise *c, const int8_t *a, const int8_t *b,
                               int8_t *y) {
    spk_elementwise_s8(c, SPK_MAXIMUM, a, b, y);
}

SPK_INLINE void spk_minimum_s8(const struct spk_elementwise *c, const int8_t *a, const int8_t *b,
                               int8_t *y) {
    spk_elementwise_s8(c, SPK_MINIMUM, a, b, y);
}

SPK_INLINE void spk_prelu_s8(const struct spk_elementwise *c, const int8_t *a, const int8_t *b,
                             int8_t *y) {
    spk_elementwise_s8(c, SPK_PRELU, a, b, y);
}

#endif
