// Convolution over spikes or 8-bit values, sums as they are.
// Golden twin: pytools/spikelet/graph/ops/conv2d_sums.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_CONV2D_SUMS_H
#define SPK_CONV2D_SUMS_H

#include "kernels/dense_packed.h"
#include "kernels/geometry.h"

struct spk_conv2d_sums {
    struct spk_geometry geometry;
    uint16_t groups;
    bool wide;      // sums are int32, else int16
    bool is_signed; // 8-bit values are int8, else uint8
    uint8_t bits;   // of a weight
    bool odd;       // of less than 8 bits, a code k stands for 2k + 1
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
    struct spk_taps taps = {0, kernel, (uint32_t)start};
    int32_t at = start;
    // all of them?
    if (at >= 0 && (uint32_t)at + (kernel - 1) * dilation < size) {
        return taps;
    }
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
    const uint32_t last = (at + count - 1) / 32;
    if (last != at / 32) {
        found |= bits[last] << (32 - shift);
    }
    return count < 32 ? found & ((1u << count) - 1) : found;
}

// What the window of an output pixel sees: runs of spikes that lie side by side, up to a row of
// taps.
struct spk_sums_window {
    const struct spk_geometry *geometry;
    struct spk_taps down;
    struct spk_taps right;
};

// Spikes of one run: where the first lies in the tensor, how many, and the place of their weights
// among (KH, KW, I).
struct spk_run {
    uint32_t bit;
    uint32_t count;
    uint32_t weight;
};

// Run `number` of tap row i.
SPK_INLINE struct spk_run spk_sums_window_run(const struct spk_sums_window *w, uint32_t i,
                                              uint32_t j) {
    const struct spk_geometry *g = w->geometry;
    const uint32_t joined = g->dilation_right == 1;
    const uint32_t row = (w->down.at + (i - w->down.first) * g->dilation_down) * g->width;
    const uint32_t column = w->right.at + (j - w->right.first) * g->dilation_right;
    const struct spk_run run = {
        (row + column) * g->channels,
        g->channels * (joined ? w->right.end - w->right.first : 1),
        (i * g->kernel_width + j) * g->channels,
    };
    return run;
}

// Sums of one pixel with few outputs. start: pairs of int16, or 0; sums: the same.
SPK_INLINE void spk_conv2d_sums_few(const struct spk_sums_window *w, const uint32_t *spikes,
                                    const uint32_t *weights, uint32_t words, const uint32_t *start,
                                    uint32_t *sums) {
    const uint32_t step = w->geometry->dilation_right == 1 ? w->geometry->kernel_width : 1;
    const uint32_t pairs = w->geometry->outputs / 2;
    struct spk_dense_sum sum = {.added = 0};
    spk_dense_begin(words, pairs, start, 0, sum.even, sum.shifted);
    for (uint32_t i = w->down.first; i < w->down.end; i++) {
        for (uint32_t j = w->right.first; j < w->right.end; j += step) {
            const struct spk_run run = spk_sums_window_run(w, i, j);
            for (uint32_t k = 0; k < run.count; k += 32) {
                const uint32_t bits =
                    spk_bits_from(spikes, run.bit + k, spk_min_u32(32, run.count - k));
                spk_dense_add(&sum, bits, weights + (run.weight + k) * words, words);
            }
        }
    }
    spk_dense_end(words, pairs, spk_dense_offset(sum.added, 0), sum.even, sum.shifted, sums);
}

// Lists the columns of a run's spikes from `k` on, until few places are left or there are no more;
// answers how far it came.
SPK_INLINE uint32_t spk_conv2d_sums_list(struct spk_dense_list *list, const struct spk_run *run,
                                         uint32_t k, const uint32_t *spikes,
                                         const uint32_t *weights, uint32_t words) {
    for (; k < run->count && list->added <= list->column + SPK_LANE_COLUMNS - 32; k += 32) {
        const uint32_t bits = spk_bits_from(spikes, run->bit + k, spk_min_u32(32, run->count - k));
        list->added =
            spk_dense_columns(bits, weights + (run->weight + k) * words, 4 * words, list->added);
    }
    return k;
}

SPK_INLINE void spk_conv2d_sums_flush(const struct spk_few *few, struct spk_dense_list *list,
                                      uint32_t words, const uint32_t *start, uint32_t *sums) {
    if (few->bits == 8) {
        spk_dense_blocks(list, words, few->outputs / 2, false, start, sums);
    } else {
        spk_few_blocks(few, list, start, sums);
    }
}

// Sums of one pixel with any number of outputs, and weights of 1 to 8 bits.
SPK_INLINE void spk_conv2d_sums_many(const struct spk_sums_window *w, const struct spk_few *few,
                                     const uint32_t *spikes, const uint32_t *weights,
                                     const uint32_t *start, uint32_t *sums) {
    const uint32_t words = (few->outputs * few->bits + 31) / 32;
    const uint32_t step = w->geometry->dilation_right == 1 ? w->geometry->kernel_width : 1;
    struct spk_dense_list list;
    spk_dense_empty(&list);
    for (uint32_t i = w->down.first; i < w->down.end; i++) {
        for (uint32_t j = w->right.first; j < w->right.end; j += step) {
            const struct spk_run run = spk_sums_window_run(w, i, j);
            for (uint32_t k = 0; k < run.count;) {
                k = spk_conv2d_sums_list(&list, &run, k, spikes, weights, words);
                if (list.added > list.column + SPK_LANE_COLUMNS - 32) {
                    spk_conv2d_sums_flush(few, &list, words, start, sums);
                    start = sums;
                }
            }
        }
    }
    if (start != sums || list.added != list.column) {
        spk_conv2d_sums_flush(few, &list, words, start, sums);
    }
}

// spikes: (H, W, I) bits; weights: (KH, KW, I, words), as dense.h or dense_packed.h have them;
// bias: (O,) pairs of int16, or 0; sums: (out H, out W, O) int16, O even.
SPK_INLINE void spk_conv2d_sums_lanes(const struct spk_conv2d_sums *c, const uint32_t *spikes,
                                      const uint32_t *weights, const uint32_t *bias,
                                      uint32_t *sums) {
    const struct spk_geometry *g = &c->geometry;
    const struct spk_few few = {c->bits, g->outputs, c->odd, false};
    const uint32_t words = (g->outputs + 3u) / 4;
    struct spk_sums_window window = {g, {0, 0, 0}, {0, 0, 0}};
    for (uint32_t y = 0; y < g->out_height; y++) {
        window.down = spk_taps_within(y, g->stride_down, g->pad_top, g->dilation_down,
                                      g->kernel_height, g->height);
        for (uint32_t x = 0; x < g->out_width; x++, sums += g->outputs / 2) {
            window.right = spk_taps_within(x, g->stride_right, g->pad_left, g->dilation_right,
                                           g->kernel_width, g->width);
            if (c->bits == 8 && words <= SPK_LANE_WORDS) {
                spk_conv2d_sums_few(&window, spikes, weights, words, bias, sums);
            } else {
                spk_conv2d_sums_many(&window, &few, spikes, weights, bias, sums);
            }
        }
    }
}

// One output pixel. weights: (KH, KW, I, O / groups) int8, or words of fields in their order.
SPK_INLINE void spk_conv2d_sums_pixel(const struct spk_conv2d_sums *c, const void *input,
                                      bool spikes, const void *weights, struct spk_taps down,
                                      struct spk_taps right, void *sums, uint32_t to) {
    const struct spk_geometry *g = &c->geometry;
    const uint32_t each = g->outputs / c->groups;
    const uint32_t depth = g->channels / (uint32_t)c->groups;
    const uint32_t stride = c->bits == 8 ? each : (each * c->bits + 31) / 32 * 4; // bytes
    for (uint32_t i = down.first; i < down.end; i++) {
        const uint32_t row = (down.at + (i - down.first) * g->dilation_down) * g->width;
        for (uint32_t j = right.first; j < right.end; j++) {
            const uint32_t column = right.at + (j - right.first) * g->dilation_right;
            const uint32_t from = (row + column) * g->channels;
            const uint8_t *tap =
                (const uint8_t *)weights + (i * g->kernel_width + j) * g->channels * stride;
            for (uint32_t k = 0; k < g->channels; k++, tap += stride) {
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
                if (c->bits < 8) {
                    const uint32_t *fields = (const uint32_t *)(const void *)tap;
                    spk_few_add(fields, c->bits, spk_grid(c->bits, c->odd, 8), each, c->wide, sums,
                                first);
                    continue;
                }
                for (uint32_t o = 0; o < each; o++) {
                    const int32_t weight = (int8_t)tap[o];
                    const int32_t more = spikes ? weight : spk_times(weight, value);
                    spk_store(sums, first + o, c->wide,
                              spk_add(spk_load(sums, first + o, c->wide), more));
                }
            }
        }
    }
}

SPK_INLINE void spk_conv2d_sums_plain(const struct spk_conv2d_sums *c, const void *input,
                                      bool spikes, const void *weights, const int32_t *bias,
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

// spikes: (H, W, I) bits; weights: (KH, KW, I, O / groups), or words of them; bias: (O,) or 0;
// sums: (out H, out W, O) int16 or int32.
SPK_INLINE void spk_conv2d_sums_spikes(const struct spk_conv2d_sums *c, const uint32_t *spikes,
                                       const void *weights, const int32_t *bias, void *sums) {
    spk_conv2d_sums_plain(c, spikes, true, weights, bias, sums);
}

// values: (H, W, I) int8 or uint8; the rest as above.
SPK_INLINE void spk_conv2d_sums_values(const struct spk_conv2d_sums *c, const void *values,
                                       const int8_t *weights, const int32_t *bias, void *sums) {
    spk_conv2d_sums_plain(c, values, false, weights, bias, sums);
}

#endif
