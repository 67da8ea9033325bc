// Average and max pooling of int8 tensors.
// Golden twins: pytools/spikelet/graph/ops/{average,max}_pool2d.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_POOL_H
#define SPK_POOL_H

#include "kernels/requantise.h"

struct spk_pool {
    uint32_t height; // of the input, (height, width, channels)
    uint32_t width;
    uint32_t channels;
    uint32_t rows; // of the output, (rows, columns, channels)
    uint32_t columns;
    uint32_t window_height;
    uint32_t window_width;
    uint32_t stride_height;
    uint32_t stride_width;
    uint32_t top; // cells beyond the edge
    uint32_t left;
    int32_t low;
    int32_t high;
};

// The part [*from, *to) of a window that lies inside of `length` cells.
SPK_INLINE void spk_pool_clip(uint32_t at, uint32_t window, uint32_t before, uint32_t length,
                              uint32_t *from, uint32_t *to) {
    *from = at > before ? at - before : 0;
    *to = spk_min_u32(at + window - before, length);
}

SPK_INLINE void spk_pool_s8(const struct spk_pool *c, bool average, const int8_t *x, int8_t *y) {
    for (uint32_t row = 0; row < c->rows; row++) {
        uint32_t top;
        uint32_t bottom;
        spk_pool_clip(row * c->stride_height, c->window_height, c->top, c->height, &top, &bottom);
        for (uint32_t column = 0; column < c->columns; column++) {
            uint32_t left;
            uint32_t right;
            spk_pool_clip(column * c->stride_width, c->window_width, c->left, c->width, &left,
                          &right);
            const int32_t count = (int32_t)((bottom - top) * (right - left));
            for (uint32_t channel = 0; channel < c->channels; channel++) {
                int32_t result = average ? 0 : INT8_MIN;
                for (uint32_t i = top; i < bottom; i++) {
                    const int8_t *cell = x + (i * c->width + left) * c->channels + channel;
                    for (uint32_t j = left; j < right; j++) {
                        result = average ? result + *cell : *cell > result ? *cell : result;
                        cell += c->channels;
                    }
                }
                if (average) {
                    const int32_t half = result > 0 ? count / 2 : -(count / 2);
                    result = (result + half) / count;
                }
                *y++ = (int8_t)spk_clamp(result, c->low, c->high);
            }
        }
    }
}

SPK_INLINE void spk_average_pool_s8(const struct spk_pool *c, const int8_t *x, int8_t *y) {
    spk_pool_s8(c, true, x, y);
}

SPK_INLINE void spk_max_pool_s8(const struct spk_pool *c, const int8_t *x, int8_t *y) {
    spk_pool_s8(c, false, x, y);
}

#endif
