// Max pooling of signs: a bit 1 stands for 1, 0 for -1.
// Golden twin: pytools/spikelet/graph/ops/binary_max_pool2d.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_BINARY_POOL_H
#define SPK_BINARY_POOL_H

#include "kernels/pool.h"

// c: its channels are words of a pixel. input: (height, width, words); inverted: (words,) bits that
// are written the other way round; output: (rows, columns, words).
SPK_SHARED void spk_binary_max_pool(const struct spk_pool *c, const uint32_t *input,
                                    const uint32_t *inverted, uint32_t *output) {
    for (uint32_t y = 0; y < c->rows; y++) {
        uint32_t top, bottom;
        spk_pool_clip(y * c->stride_height, c->window_height, c->top, c->height, &top, &bottom);
        for (uint32_t x = 0; x < c->columns; x++) {
            uint32_t left, right;
            spk_pool_clip(x * c->stride_width, c->window_width, c->left, c->width, &left, &right);
            for (uint32_t w = 0; w < c->channels; w++) {
                uint32_t any = 0;
                for (uint32_t i = top; i < bottom; i++) {
                    const uint32_t *from = input + (i * c->width + left) * c->channels + w;
                    for (uint32_t j = left; j < right; j++) {
                        any |= *from;
                        from += c->channels;
                    }
                }
                *output++ = any ^ inverted[w];
            }
        }
    }
}

#endif
