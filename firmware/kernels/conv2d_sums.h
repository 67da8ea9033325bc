// Convolution over spikes or 8-bit values, sums as they are.
// Golden twin: pytools/spikelet/graph/ops/conv2d_sums.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_CONV2D_SUMS_H
#define SPK_CONV2D_SUMS_H

#include "kernels/dense.h"
#include "kernels/geometry.h"

struct spk_conv2d_sums {
    struct spk_geometry geometry;
    uint16_t groups;
    bool wide;      // sums are int32, else int16
    bool is_signed; // 8-bit values are int8, else uint8
};

// The taps of one output along one axis that lie within the image: [first, end), and where in the
// image tap `first` lies.
struct spk_taps {
    uint32_t first;
    uint32_t end;
    uint32_t at;
};

SPK_INLINE struct spk_taps spk_taps_within(uint32_t output, uint32_t stride, uint32_t pad,
                                           uint32_t dilation, uint32_t kernel, uint32_t size) {
    const int32_t start = (int32_t)(output * stride) - (int32_t)pad;
    struct spk_taps taps = {0, 0, 0};
    int32_t at = start;
    while (taps.first < kernel && at < 0) {
        taps.first++;
        at += (int32_t)dilation;
    }
    taps.at = (uint32_t)at;
    for (taps.end = taps.first; taps.end < kernel && at < (int32_t)size; taps.end++) {
        at += (int32_t)dilation;
    }
    return taps;
}

// Bits at, at + 1, ... at + count - 1 of a tensor of bits, from bit 0 up; count is 1 to 32.
SPK_INLINE uint32_t spk_bits_from(const uint32_t *bits, uint32_t at, uint32_t count) {
    const uint32_t shift = at % 32;
    uint32_t found = bits[at / 32] >> shift;
    if (shift + count > 32) {
        found |= bits[at / 32 + 1] << (32 - shift);
    }
    return count < 32 ? found & ((1u << count) - 1) : found;
}

// spikes: (H, W, I) bits; weights: (KH, KW, I, words), four to a word as dense.h has them;
// bias: (2 * words,) pairs of int16, or 0; sums: (out H, out W, O) int16, O even.
SPK_INLINE void spk_conv2d_sums_lanes(const struct spk_conv2d_sums *c, const uint32_t *spikes,
                                      const uint32_t *weights, const uint32_t *bias,
                                      uint32_t *sums) {
    const struct spk_geometry *g = &c->geometry;
    const uint32_t words = (g->outputs + 3u) / 4;
    const uint32_t joined = g->dilation_right == 1; // taps of a row that lie side by side
    struct spk_dense_list list;
    spk_dense_empty(&list);
    for (uint32_t y = 0; y < g->out_height; y++) {
        const struct spk_taps down = spk_taps_within(y, g->stride_down, g->pad_top,
                                                     g->dilation_down, g->kernel_height, g->height);
        for (uint32_t x = 0; x < g->out_width; x++, sums += g->outputs / 2) {
            const struct spk_taps right = spk_taps_within(
                x, g->stride_right, g->pad_left, g->dilation_right, g->kernel_width, g->width);
            const uint32_t *start = bias;
            for (uint32_t i = down.first; i < down.end; i++) {
                const uint32_t row = (down.at + (i - down.first) * g->dilation_down) * g->width;
                for (uint32_t j = right.first; j < right.end; j += joined ? right.end : 1) {
                    const uint32_t column = right.at + (j - right.first) * g->dilation_right;
                    const uint32_t many = g->channels * (joined ? right.end - right.first : 1);
                    const uint32_t *base =
                        weights + (i * g->kernel_width + j) * g->channels * words;
                    for (uint32_t k = 0; k < many; k += 32) {
                        const uint32_t count = spk_min_u32(32, many - k);
                        const uint32_t bits =
                            spk_bits_from(spikes, (row + column) * g->channels + k, count);
                        list.added =
                            spk_dense_columns(bits, base + k * words, 4 * words, list.added);
                        if (list.added > list.column + SPK_LANE_COLUMNS - 32) {
                            spk_dense_blocks(&list, words, false, start, sums);
                            start = sums;
                        }
                    }
                }
            }
            if (start != sums || list.added != list.column) {
                spk_dense_blocks(&list, words, false, start, sums);
            }
        }
    }
}

// One output pixel of spikes. weights: (KH, KW, I, O / groups) int8.
SPK_INLINE void spk_conv2d_sums_pixel(const struct spk_conv2d_sums *c, const void *input,
                                      bool spikes, const int8_t *weights, struct spk_taps down,
                                      struct spk_taps right, void *sums, uint32_t to) {
    const struct spk_geometry *g = &c->geometry;
    const uint32_t each = g->outputs / c->groups;
    const uint32_t depth = g->channels / (uint32_t)c->groups;
    for (uint32_t i = down.first; i < down.end; i++) {
        const uint32_t row = (down.at + (i - down.first) * g->dilation_down) * g->width;
        for (uint32_t j = right.first; j < right.end; j++) {
            const uint32_t column = right.at + (j - right.first) * g->dilation_right;
            const uint32_t from = (row + column) * g->channels;
            const int8_t *tap = weights + (i * g->kernel_width + j) * g->channels * each;
            for (uint32_t k = 0; k < g->channels; k++, tap += each) {
                int32_t value;
                if (spikes) {
                    const uint32_t at = from + k;
                    value = (int32_t)(((const uint32_t *)input)[at / 32] >> (at % 32) & 1);
                } else {
                    value = c->is_signed ? ((const int8_t *)input)[from + k]
                                         : ((const uint8_t *)input)[from + k];
                }
                if (value == 0) {
                    continue;
                }
                const uint32_t first = to + k / depth * each;
                for (uint32_t o = 0; o < each; o++) {
                    const int32_t more = spikes ? tap[o] : spk_times(tap[o], value);
                    spk_store(sums, first + o, c->wide,
                              spk_add(spk_load(sums, first + o, c->wide), more));
                }
            }
        }
    }
}

SPK_INLINE void spk_conv2d_sums_plain(const struct spk_conv2d_sums *c, const void *input,
                                      bool spikes, const int8_t *weights, const int32_t *bias,
                                      void *sums) {
    const struct spk_geometry *g = &c->geometry;
    uint32_t to = 0;
    for (uint32_t y = 0; y < g->out_height; y++) {
        const struct spk_taps down = spk_taps_within(y, g->stride_down, g->pad_top,
                                                     g->dilation_down, g->kernel_height, g->height);
        for (uint32_t x = 0; x < g->out_width; x++, to += g->outputs) {
            const struct spk_taps right = spk_taps_within(
                x, g->stride_right, g->pad_left, g->dilation_right, g->kernel_width, g->width);
            for (uint32_t o = 0; o < g->outputs; o++) {
                spk_store(sums, to + o, c->wide, bias ? bias[o] : 0);
            }
            spk_conv2d_sums_pixel(c, input, spikes, weights, down, right, sums, to);
        }
    }
}

// spikes: (H, W, I) bits; weights: (KH, KW, I, O / groups); bias: (O,) or 0;
// sums: (out H, out W, O) int16 or int32.
SPK_INLINE void spk_conv2d_sums_spikes(const struct spk_conv2d_sums *c, const uint32_t *spikes,
                                       const int8_t *weights, const int32_t *bias, void *sums) {
    spk_conv2d_sums_plain(c, spikes, true, weights, bias, sums);
}

// values: (H, W, I) int8 or uint8; the rest as above.
SPK_INLINE void spk_conv2d_sums_values(const struct spk_conv2d_sums *c, const void *values,
                                       const int8_t *weights, const int32_t *bias, void *sums) {
    spk_conv2d_sums_plain(c, values, false, weights, bias, sums);
}

#endif
