// Layers on signs: a bit 1 stands for 1, 0 for -1.
// Golden twins: pytools/spikelet/graph/ops/{threshold,binary_conv2d}.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_BINARY_H
#define SPK_BINARY_H

#include "kernels/geometry.h"
#include "kernels/requantise.h"

// x: n codes, channels last; bits: (n,). threshold: (channels,).
SPK_SHARED void spk_threshold(const int8_t *x, uint32_t n, const int16_t *threshold,
                              uint32_t channels, uint32_t *bits) {
    uint32_t channel = 0;
    for (uint32_t i = 0; i < n; i += 32) {
        const uint32_t end = n - i < 32 ? n - i : 32;
        uint32_t word = 0;
        for (uint32_t b = 0; b < end; b++) {
            word |= (uint32_t)(*x++ >= threshold[channel]) << b;
            channel = channel + 1 < channels ? channel + 1 : 0;
        }
        *bits++ = word;
    }
}

struct spk_binary_conv2d {
    const uint32_t *weights; // (outputs, kernel_height * kernel_width, words)
    const int32_t *limits;   // (outputs,) twice the most bits that differ where the output is 1
    struct spk_rescale out;  // (outputs,), with the bits of a window in the bias; or limits
    struct spk_geometry geometry;
    uint16_t words; // of a pixel
    int8_t outside; // what the taps beyond the image see: -1, 0 or 1
};

SPK_INLINE uint32_t spk_popcount(uint32_t x) {
#if defined(__riscv_zbb) || !(defined(__riscv) || defined(__arm__))
    return (uint32_t)__builtin_popcount(x);
#else
    x -= x >> 1 & 0x55555555u;
    x = (x & 0x33333333u) + (x >> 2 & 0x33333333u);
    x = (x + (x >> 4)) & 0x0F0F0F0Fu;
    x += x >> 8;
    return (x + (x >> 16)) & 0x3Fu;
#endif
}

// The window of output (y, x) into (taps, words); how many of its taps lie outside and do not
// count.
SPK_INLINE uint32_t spk_binary_gather(const struct spk_binary_conv2d *c, uint32_t y, uint32_t x,
                                      const uint32_t *input, uint32_t *window) {
    const struct spk_geometry *g = &c->geometry;
    uint32_t missing = 0;
    for (uint32_t i = 0; i < g->kernel_height; i++) {
        const uint32_t row = y * g->stride_down + i * g->dilation_down - g->pad_top;
        for (uint32_t j = 0; j < g->kernel_width; j++) {
            const uint32_t column = x * g->stride_right + j * g->dilation_right - g->pad_left;
            const bool there = row < g->height && column < g->width;
            const uint32_t *from = input + (row * g->width + column) * c->words;
            for (uint32_t w = 0; w < c->words; w++) {
                *window++ = there ? from[w] : c->outside > 0 ? 0xFFFFFFFFu : 0;
            }
            missing += !there && c->outside == 0;
        }
    }
    return missing;
}

// Bits in which a window differs from the weights of an output. `masked`: some taps do not count.
SPK_INLINE uint32_t spk_binary_differing(const struct spk_binary_conv2d *c, uint32_t y, uint32_t x,
                                         bool masked, const uint32_t *window,
                                         const uint32_t *weights) {
    const struct spk_geometry *g = &c->geometry;
    uint32_t count = 0;
    if (!masked) {
        const uint32_t *const end =
            window + (uint32_t)g->kernel_height * g->kernel_width * c->words;
        do {
            count += spk_popcount(*window++ ^ *weights++);
        } while (window != end);
        return count;
    }
    for (uint32_t i = 0; i < g->kernel_height; i++) {
        const uint32_t row = y * g->stride_down + i * g->dilation_down - g->pad_top;
        for (uint32_t j = 0; j < g->kernel_width; j++) {
            const uint32_t column = x * g->stride_right + j * g->dilation_right - g->pad_left;
            const bool there = row < g->height && column < g->width;
            for (uint32_t w = 0; w < c->words; w++) {
                count += there ? spk_popcount(*window ^ *weights) : 0;
                window++;
                weights++;
            }
        }
    }
    return count;
}

// Where p bits of n differ, the sum is n - 2p. A tap that does not count takes its bits from n.
SPK_INLINE void spk_binary_conv2d(const struct spk_binary_conv2d *c, bool bits, bool wide,
                                  const uint32_t *input, uint32_t *window, void *output) {
    const struct spk_geometry *g = &c->geometry;
    const uint32_t step = (uint32_t)g->kernel_height * g->kernel_width * c->words;
    uint32_t *to = output;
    int8_t *code = output;
    for (uint32_t y = 0; y < g->out_height; y++) {
        for (uint32_t x = 0; x < g->out_width; x++) {
            const uint32_t missing = spk_binary_gather(c, y, x, input, window);
            const int32_t less = (int32_t)(missing * g->channels);
            const uint32_t *weights = c->weights;
            uint32_t word = 0;
            for (uint32_t o = 0; o < g->outputs; o++) {
                const int32_t differing =
                    (int32_t)spk_binary_differing(c, y, x, missing != 0, window, weights);
                const int32_t twice = 2 * differing + less;
                weights += step;
                if (!bits) {
                    *code++ = spk_rescale_marked(&c->out, wide, c->out.bias[o] - twice,
                                                 c->out.multiplier[o], c->out.shift[o]);
                    continue;
                }
                word |= (uint32_t)(twice <= c->limits[o]) << (o & 31);
                if ((o & 31) == 31 || o + 1 == g->outputs) {
                    *to++ = word;
                    word = 0;
                }
            }
        }
    }
}

SPK_SHARED void spk_binary_conv2d_bits(const struct spk_binary_conv2d *c, const uint32_t *input,
                                       uint32_t *window, uint32_t *output) {
    spk_binary_conv2d(c, true, false, input, window, output);
}

SPK_SHARED void spk_binary_conv2d_codes(const struct spk_binary_conv2d *c, const uint32_t *input,
                                        uint32_t *window, int8_t *output) {
    spk_binary_conv2d(c, false, false, input, window, output);
}

SPK_SHARED void spk_binary_conv2d_codes_wide(const struct spk_binary_conv2d *c,
                                             const uint32_t *input, uint32_t *window,
                                             int8_t *output) {
    spk_binary_conv2d(c, false, true, input, window, output);
}

#endif
