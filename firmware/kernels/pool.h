// Average and max pooling of int8 tensors.
// Golden twins: pytools/spikelet/graph/ops/{average,max}_pool2d.py.
// SPDX-License-Identifier: Apache-2.0
//
// Outputs are written in order, a few channels at a time. A pixel's window is still read while its
// channels are written; nothing before that window is read any more.
#ifndef SPK_POOL_H
#define SPK_POOL_H

#include "kernels/requantise.h"
#if defined(__ARM_FEATURE_MVE)
#include <arm_mve.h>
#endif

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

// The cells of a window that count, of the first of some channels.
struct spk_cells {
    const int8_t *first;
    uint32_t rows;
    uint32_t columns;
};

// The code from a window's sum or largest code.
SPK_INLINE int8_t spk_pool_code(const struct spk_pool *c, bool average, const struct spk_cells *of,
                                int32_t result) {
    if (average) {
        const int32_t count = (int32_t)(of->rows * of->columns);
        const int32_t half = result > 0 ? count / 2 : -(count / 2);
        result = (result + half) / count;
    }
    return (int8_t)spk_clamp(result, c->low, c->high);
}

// One window of `n` neighbouring channels, at most 4.
SPK_INLINE void spk_pool_some(const struct spk_pool *c, bool average, uint32_t n,
                              const struct spk_cells *of, int8_t *y) {
    const int32_t none = average ? 0 : INT8_MIN;
    int32_t result[4] = {none, none, none, none};
    const int8_t *row = of->first;
    for (uint32_t i = 0; i < of->rows; i++) {
        const int8_t *cell = row;
        for (uint32_t j = 0; j < of->columns; j++) {
            SPK_UNROLL(4)
            for (uint32_t k = 0; k < n; k++) {
                const int32_t x = cell[k];
                result[k] = average ? result[k] + x : x > result[k] ? x : result[k];
            }
            cell += c->channels;
        }
        row += c->width * c->channels;
    }
    SPK_UNROLL(4)
    for (uint32_t k = 0; k < n; k++) {
        y[k] = spk_pool_code(c, average, of, result[k]);
    }
}

#if defined(__ARM_FEATURE_MVE)
// Up to 8 channels; a sum fits 16 bits.
SPK_INLINE void spk_pool_vector(const struct spk_pool *c, bool average, uint32_t n,
                                const struct spk_cells *of, int8_t *y) {
    const mve_pred16_t there = vctp16q(n);
    int16x8_t result = vdupq_n_s16(average ? 0 : INT8_MIN);
    const int8_t *row = of->first;
    for (uint32_t i = 0; i < of->rows; i++) {
        const int8_t *cell = row;
        for (uint32_t j = 0; j < of->columns; j++) {
            const int16x8_t x = vldrbq_z_s16(cell, there);
            result = average ? vaddq_s16(result, x) : vmaxq_s16(result, x);
            cell += c->channels;
        }
        row += c->width * c->channels;
    }
    int16_t results[8];
    vst1q_s16(results, result);
    for (uint32_t k = 0; k < spk_min_u32(n, 8); k++) {
        y[k] = spk_pool_code(c, average, of, results[k]);
    }
}
#endif

SPK_INLINE void spk_pool_window(const struct spk_pool *c, bool average, struct spk_cells of,
                                int8_t *y) {
    uint32_t channel = 0;
#if defined(__ARM_FEATURE_MVE)
    if (c->window_height * c->window_width <= 255) {
        for (; channel < c->channels; channel += 8) {
            spk_pool_vector(c, average, c->channels - channel, &of, y + channel);
            of.first += 8;
        }
        return;
    }
#endif
    for (; channel + 4 <= c->channels; channel += 4) {
        spk_pool_some(c, average, 4, &of, y + channel);
        of.first += 4;
    }
    for (; channel < c->channels; channel++) {
        spk_pool_some(c, average, 1, &of, y + channel);
        of.first++;
    }
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
            const struct spk_cells of = {x + (top * c->width + left) * c->channels, bottom - top,
                                         right - left};
            spk_pool_window(c, average, of, y);
            y += c->channels;
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
