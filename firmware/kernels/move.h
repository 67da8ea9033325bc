// Moves boxes of int8 elements: transpose, slice, concatenate, pad.
// Golden twins: pytools/spikelet/graph/ops/{transpose,slice,concatenate,pad}.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_MOVE_H
#define SPK_MOVE_H

#include "kernels/fixed.h"

// A box of `dims` elements, read from element `first` on and written from `to_first` on, in steps
// of so many elements in each dimension.
struct spk_move {
    uint32_t dims[4];
    int32_t first;
    int32_t stride[4];
    int32_t to_first;
    int32_t to_stride[4];
};

SPK_INLINE void spk_move_s8(const struct spk_move *c, const int8_t *x, int8_t *y) {
    for (int32_t i = 0; i < (int32_t)c->dims[0]; i++) {
        for (int32_t j = 0; j < (int32_t)c->dims[1]; j++) {
            for (int32_t k = 0; k < (int32_t)c->dims[2]; k++) {
                const int8_t *from =
                    x + c->first + i * c->stride[0] + j * c->stride[1] + k * c->stride[2];
                int8_t *to = y + c->to_first + i * c->to_stride[0] + j * c->to_stride[1] +
                             k * c->to_stride[2];
                for (int32_t l = 0; l < (int32_t)c->dims[3]; l++) {
                    to[l * c->to_stride[3]] = from[l * c->stride[3]];
                }
            }
        }
    }
}

SPK_INLINE void spk_fill_s8(int8_t *y, uint32_t n, int8_t value) {
    for (uint32_t i = 0; i < n; i++) {
        y[i] = value;
    }
}

// Rows and columns by table: y[i, j, c] = x[rows[i], columns[j], c]; x: (height, width, channels).
SPK_INLINE void spk_resize_s8(const int8_t *x, uint32_t width, uint32_t channels,
                              const uint16_t *rows, uint32_t out_height, const uint16_t *columns,
                              uint32_t out_width, int8_t *y) {
    for (uint32_t i = 0; i < out_height; i++) {
        for (uint32_t j = 0; j < out_width; j++) {
            const int8_t *cell = x + (rows[i] * width + columns[j]) * channels;
            for (uint32_t channel = 0; channel < channels; channel++) {
                *y++ = cell[channel];
            }
        }
    }
}

#endif
