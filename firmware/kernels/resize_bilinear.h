// Bilinear resize of int8 images. Golden twin: pytools/spikelet/graph/ops/resize_bilinear.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_RESIZE_BILINEAR_H
#define SPK_RESIZE_BILINEAR_H

#include "kernels/fixed.h"

struct spk_resize_bilinear {
    uint32_t width; // of the input
    uint32_t channels;
    const int16_t *rows;    // (out height, 3) two rows and the share of the second, in 1024ths
    const int16_t *columns; // (out width, 3)
    uint32_t out_height;
    uint32_t out_width;
};

// x: (height, width, channels); y: (out height, out width, channels).
SPK_INLINE void spk_resize_bilinear_s8(const struct spk_resize_bilinear *c, const int8_t *x,
                                       int8_t *y) {
    const uint32_t row_size = c->width * c->channels;
    for (uint32_t i = 0; i < c->out_height; i++) {
        const int16_t *row = c->rows + 3 * i;
        const int8_t *upper = x + (uint32_t)row[0] * row_size;
        const int8_t *lower = x + (uint32_t)row[1] * row_size;
        for (uint32_t j = 0; j < c->out_width; j++) {
            const int16_t *column = c->columns + 3 * j;
            const uint32_t first = (uint32_t)column[0] * c->channels;
            const uint32_t second = (uint32_t)column[1] * c->channels;
            for (uint32_t k = 0; k < c->channels; k++) {
                const int32_t left = upper[first + k] * (1024 - row[2]) + lower[first + k] * row[2];
                const int32_t right =
                    upper[second + k] * (1024 - row[2]) + lower[second + k] * row[2];
                const int32_t total = left * (1024 - column[2]) + right * column[2];
                *y++ = (int8_t)((total + (total > 0 ? 1 << 19 : -(1 << 19))) / (1 << 20));
            }
        }
    }
}

#endif
