// Pools over spikes, counts or currents, without rounding.
// Golden twin: pytools/spikelet/graph/ops/pool2d_sums.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_POOL_SUMS_H
#define SPK_POOL_SUMS_H

#include "kernels/pool.h"

enum spk_elements { SPK_POOL_BITS, SPK_POOL_BYTES, SPK_POOL_SHORTS, SPK_POOL_LONGS };

struct spk_pool_sums {
    struct spk_pool pool; // its limits are not used
    bool max;             // else the sum
    uint8_t from;         // enum spk_elements
    uint8_t to;
};

SPK_INLINE int32_t spk_pool_element(const void *x, uint8_t type, uint32_t i) {
    return type == SPK_POOL_BITS    ? (int32_t)(((const uint32_t *)x)[i / 32] >> (i % 32) & 1)
           : type == SPK_POOL_BYTES ? ((const uint8_t *)x)[i]
                                    : spk_load(x, i, type == SPK_POOL_LONGS);
}

// One window of one channel; x: (height, width, channels).
SPK_INLINE int32_t spk_pooled(const struct spk_pool_sums *c, const void *x, uint32_t row,
                              uint32_t column, uint32_t channel) {
    const struct spk_pool *p = &c->pool;
    uint32_t top, bottom, left, right;
    spk_pool_clip(row * p->stride_height, p->window_height, p->top, p->height, &top, &bottom);
    spk_pool_clip(column * p->stride_width, p->window_width, p->left, p->width, &left, &right);
    int32_t result = c->max ? INT32_MIN : 0;
    for (uint32_t i = top; i < bottom; i++) {
        for (uint32_t j = left; j < right; j++) {
            const uint32_t at = (i * p->width + j) * p->channels + channel;
            const int32_t value = spk_pool_element(x, c->from, at);
            result = !c->max ? spk_add(result, value) : value > result ? value : result;
        }
    }
    return result;
}

// x: (height, width, channels), y: (rows, columns, channels); bits are written from bit 0 up.
SPK_INLINE void spk_pool_sums(const struct spk_pool_sums *c, const void *x, void *y) {
    const struct spk_pool *p = &c->pool;
    uint32_t at = 0;
    uint32_t bits = 0;
    for (uint32_t row = 0; row < p->rows; row++) {
        for (uint32_t column = 0; column < p->columns; column++) {
            for (uint32_t channel = 0; channel < p->channels; channel++, at++) {
                const int32_t result = spk_pooled(c, x, row, column, channel);
                if (c->to == SPK_POOL_BITS) {
                    bits |= (uint32_t)result << (at % 32);
                    if (at % 32 == 31) {
                        ((uint32_t *)y)[at / 32] = bits;
                        bits = 0;
                    }
                } else if (c->to == SPK_POOL_BYTES) {
                    ((uint8_t *)y)[at] = (uint8_t)result;
                } else {
                    spk_store(y, at, c->to == SPK_POOL_LONGS, result);
                }
            }
        }
    }
    if (c->to == SPK_POOL_BITS && at % 32 != 0) {
        ((uint32_t *)y)[at / 32] = bits;
    }
}

#endif
