// Transposed int8 convolution. Golden twin: pytools/spikelet/graph/ops/transpose_conv.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_TRANSPOSE_CONV_H
#define SPK_TRANSPOSE_CONV_H

#include "kernels/requantise.h"

struct spk_transpose_conv {
    const int8_t *weights; // (outputs, kernel height, kernel width, channels)
    struct spk_rescale out;
    uint32_t height;
    uint32_t width;
    uint32_t channels;
    uint32_t out_height;
    uint32_t out_width;
    uint32_t outputs;
    uint32_t kernel_height;
    uint32_t kernel_width;
    uint32_t stride_down;
    uint32_t stride_right;
    uint32_t pad_top;
    uint32_t pad_left;
    int32_t input_zero;
};

// The input that tap `tap` of output `place` sees, or `length` where it sees none.
SPK_INLINE uint32_t spk_transposed(uint32_t place, uint32_t tap, uint32_t stride, uint32_t length) {
    const uint32_t at = place - tap; // wraps to a large number where the tap is outside
    return place >= tap && at % stride == 0 && at / stride < length ? at / stride : length;
}

// Sum of one output: row and column count from before the padding.
SPK_INLINE int32_t spk_transpose_conv_sum(const struct spk_transpose_conv *c, const int8_t *x,
                                          const int8_t *weights, uint32_t row, uint32_t column) {
    int32_t sum = 0;
    for (uint32_t i = 0; i < c->kernel_height; i++) {
        const uint32_t from = spk_transposed(row, i, c->stride_down, c->height);
        for (uint32_t j = 0; j < c->kernel_width; j++, weights += c->channels) {
            const uint32_t cell = spk_transposed(column, j, c->stride_right, c->width);
            if (from == c->height || cell == c->width) {
                continue;
            }
            const int8_t *codes = x + (from * c->width + cell) * c->channels;
            for (uint32_t k = 0; k < c->channels; k++) {
                sum += spk_times(codes[k] - c->input_zero, weights[k]);
            }
        }
    }
    return sum;
}

// x: (height, width, channels); y: (out height, out width, outputs).
SPK_INLINE void spk_transpose_conv_s8(const struct spk_transpose_conv *c, const int8_t *x,
                                      int8_t *y) {
    const uint32_t taps = c->kernel_height * c->kernel_width * c->channels;
    for (uint32_t i = 0; i < c->out_height; i++) {
        for (uint32_t j = 0; j < c->out_width; j++) {
            for (uint32_t o = 0; o < c->outputs; o++) {
                const int32_t sum = spk_transpose_conv_sum(c, x, c->weights + o * taps,
                                                           i + c->pad_top, j + c->pad_left);
                *y++ = spk_rescale(&c->out, false, sum + c->out.bias[o],
                                   spk_multiplier_of(&c->out, true, o),
                                   spk_shift_of(&c->out, true, o));
            }
        }
    }
}

#endif
