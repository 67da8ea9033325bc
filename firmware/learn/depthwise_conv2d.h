// Depthwise two-dimensional convolution that learns: forward, update, input gradient. Golden twin:
// pytools/spikelet/learn/layers/depthwise_conv2d.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LEARN_DEPTHWISE_CONV2D_H
#define SPK_LEARN_DEPTHWISE_CONV2D_H

#include "learn/convolution.h"

// What a tile of sums walks over: rows x columns taps, in either direction. Steps count elements.
struct spk_depthwise_walk {
    int32_t rows, columns;
    int32_t row, column, pixel; // of the source: from tap to tap, from pixel to pixel
    int32_t weight_row, weight_column;
    const struct spk_source *codes;
};

// Sums of pixels x channels, both constants. start: (4,), or 0 for zeros.
SPK_INLINE void spk_depthwise_tile(spk_sum held[4][4], const spk_sum *start,
                                   const struct spk_depthwise_walk *k, const void *x,
                                   const spk_weight *weights, bool coded, uint32_t pixels,
                                   uint32_t channels) {
    spk_sum sums[4][4];
    SPK_CONV_EACH(c, channels) {
        const spk_sum first = start ? start[c] : 0;
        SPK_CONV_EACH(p, pixels) {
            sums[p][c] = first;
        }
    }
    const struct spk_source *codes = coded ? k->codes : 0;
    for (int32_t row = k->rows; row > 0; row--) {
        const void *from = x;
        const spk_weight *by = weights;
        for (int32_t column = k->columns; column > 0; column--) {
            spk_sum weight[4];
            SPK_CONV_EACH(c, channels) {
                weight[c] = spk_widen(by[c]);
            }
            const void *v = from;
            SPK_CONV_EACH(p, pixels) {
                SPK_CONV_EACH(c, channels) {
                    sums[p][c] = spk_mac(sums[p][c], spk_conv_load(v, c, codes), weight[c]);
                }
                v = spk_conv_skip(v, k->pixel, coded);
            }
            from = spk_conv_skip(from, k->column, coded);
            by += k->weight_column;
        }
        x = spk_conv_skip(x, k->row, coded);
        weights += k->weight_row;
    }
    SPK_CONV_EACH(p, pixels) {
        SPK_CONV_EACH(c, channels) {
            held[p][c] = sums[p][c];
        }
    }
}

SPK_SHARED void spk_depthwise_values_wide_4(spk_sum sums[4][4], const spk_sum *start,
                                            const struct spk_depthwise_walk *k, const void *x,
                                            const spk_weight *weights) {
    spk_depthwise_tile(sums, start, k, x, weights, false, SPK_CONV_WIDE, 4);
}

SPK_SHARED void spk_depthwise_values_wide_1(spk_sum sums[4][4], const spk_sum *start,
                                            const struct spk_depthwise_walk *k, const void *x,
                                            const spk_weight *weights) {
    spk_depthwise_tile(sums, start, k, x, weights, false, SPK_CONV_WIDE, 1);
}

SPK_SHARED void spk_depthwise_values_one_4(spk_sum sums[4][4], const spk_sum *start,
                                           const struct spk_depthwise_walk *k, const void *x,
                                           const spk_weight *weights) {
    spk_depthwise_tile(sums, start, k, x, weights, false, 1, 4);
}

SPK_SHARED void spk_depthwise_values_one_1(spk_sum sums[4][4], const spk_sum *start,
                                           const struct spk_depthwise_walk *k, const void *x,
                                           const spk_weight *weights) {
    spk_depthwise_tile(sums, start, k, x, weights, false, 1, 1);
}

SPK_SHARED void spk_depthwise_codes_wide_4(spk_sum sums[4][4], const spk_sum *start,
                                           const struct spk_depthwise_walk *k, const void *x,
                                           const spk_weight *weights) {
    spk_depthwise_tile(sums, start, k, x, weights, true, SPK_CONV_WIDE, 4);
}

SPK_SHARED void spk_depthwise_codes_wide_1(spk_sum sums[4][4], const spk_sum *start,
                                           const struct spk_depthwise_walk *k, const void *x,
                                           const spk_weight *weights) {
    spk_depthwise_tile(sums, start, k, x, weights, true, SPK_CONV_WIDE, 1);
}

SPK_SHARED void spk_depthwise_codes_one_4(spk_sum sums[4][4], const spk_sum *start,
                                          const struct spk_depthwise_walk *k, const void *x,
                                          const spk_weight *weights) {
    spk_depthwise_tile(sums, start, k, x, weights, true, 1, 4);
}

SPK_SHARED void spk_depthwise_codes_one_1(spk_sum sums[4][4], const spk_sum *start,
                                          const struct spk_depthwise_walk *k, const void *x,
                                          const spk_weight *weights) {
    spk_depthwise_tile(sums, start, k, x, weights, true, 1, 1);
}

SPK_INLINE void spk_depthwise_sums(spk_sum sums[4][4], const spk_sum *start,
                                   const struct spk_depthwise_walk *k, const void *x,
                                   const spk_weight *weights, bool coded, int32_t pixels,
                                   int32_t channels) {
    if (coded && channels == 4) {
        (pixels == 1 ? spk_depthwise_codes_one_4 : spk_depthwise_codes_wide_4)(sums, start, k, x,
                                                                               weights);
    } else if (coded) {
        (pixels == 1 ? spk_depthwise_codes_one_1 : spk_depthwise_codes_wide_1)(sums, start, k, x,
                                                                               weights);
    } else if (channels == 4) {
        (pixels == 1 ? spk_depthwise_values_one_4 : spk_depthwise_values_wide_4)(sums, start, k, x,
                                                                                 weights);
    } else {
        (pixels == 1 ? spk_depthwise_values_one_1 : spk_depthwise_values_wide_1)(sums, start, k, x,
                                                                                 weights);
    }
}

// Outputs of one or SPK_CONV_WIDE neighbouring pixels; x, y: of the first one's first tap, and of
// the first one, in the first channel.
SPK_INLINE void spk_depthwise_forward_pixels(const struct spk_convolution *c,
                                             const struct spk_depthwise_walk *k,
                                             const struct spk_conv_part *part, const void *x,
                                             int32_t tap, const spk_sum *bias, spk_value *y,
                                             int32_t pixels) {
    const bool coded = SPK_CONV_CODED(c);
    spk_sum sums[4][4];
    int32_t wide = 4;
    for (int32_t i = 0; i < part->outputs; i += wide) {
        wide = i + 4 <= part->outputs ? 4 : 1;
        const int32_t channel = part->first + i;
        spk_depthwise_sums(sums, bias + channel, k, spk_conv_skip(x, channel, coded),
                           part->weights + tap * part->outputs + i, coded, pixels, wide);
        spk_value *to = y + channel;
        for (int32_t p = 0; p < pixels; p++) {
            for (int32_t j = 0; j < wide; j++) {
                to[j] = spk_conv_output(c, sums[p][j]);
            }
            to += c->outputs;
        }
    }
}

SPK_SHARED void spk_depthwise_forward_part(const struct spk_convolution *c,
                                           const struct spk_conv_part *part, const void *x,
                                           const spk_sum *bias, spk_value *y) {
    const struct spk_window *g = &c->window;
    struct spk_depthwise_walk k = {.row = g->width * g->channels,
                                   .column = g->channels,
                                   .pixel = g->stride_right * g->channels,
                                   .weight_row = g->kernel_width * part->outputs,
                                   .weight_column = part->outputs,
                                   .codes = &c->source};
    for (int32_t at = 0; at < g->out_height; at++) {
        const struct spk_reach down =
            spk_reach_output(at, g->stride_down, g->pad_top, g->kernel_height, g->height);
        k.rows = down.count;
        struct spk_conv_group next;
        for (int32_t to = 0; to < g->out_width; to += next.pixels) {
            next = spk_conv_outputs_at(g, to);
            k.columns = next.taps.count;
            spk_depthwise_forward_pixels(
                c, &k, part,
                spk_conv_skip(x, (down.source * g->width + next.taps.source) * g->channels,
                              SPK_CONV_CODED(c)),
                down.first * g->kernel_width + next.taps.first, bias, y, next.pixels);
            y += next.pixels * c->outputs;
        }
    }
}

// x: (height, width, channels), values or codes; learned: weights (kernel_height, kernel_width,
// learned); frozen: those of the other channels; bias: (channels,); y: (out_height, out_width,
// channels).
SPK_INLINE void spk_learn_depthwise_conv2d_forward(const struct spk_convolution *c, const void *x,
                                                   const spk_weight *learned,
                                                   const spk_weight *frozen, const spk_sum *bias,
                                                   spk_value *y) {
    const struct spk_conv_part first = {learned, 0, c->learned};
    const struct spk_conv_part second = {frozen, c->learned, c->outputs - c->learned};
    if (c->learned > 0) {
        spk_depthwise_forward_part(c, &first, x, bias, y);
    }
    if (c->learned < c->outputs) {
        spk_depthwise_forward_part(c, &second, x, bias, y);
    }
}

// Gradients of one or SPK_CONV_WIDE pixels of the input, a stride apart; dy: of the first one's
// first tap, in the first channel; kept, dx: of the first pixel.
SPK_INLINE void spk_depthwise_back_pixels(const struct spk_convolution *c,
                                          const struct spk_depthwise_walk *k,
                                          const struct spk_conv_part *part, const spk_value *dy,
                                          int32_t tap, const spk_value *kept, spk_value *dx,
                                          int32_t pixels) {
    const int32_t next = c->window.stride_right * c->outputs;
    spk_sum sums[4][4];
    int32_t wide = 4;
    for (int32_t i = 0; i < part->outputs; i += wide) {
        wide = i + 4 <= part->outputs ? 4 : 1;
        const int32_t channel = part->first + i;
        spk_depthwise_sums(sums, 0, k, dy + channel, part->weights + tap * part->outputs + i, false,
                           pixels, wide);
        int32_t at = channel;
        for (int32_t p = 0; p < pixels; p++) {
            for (int32_t j = 0; j < wide; j++) {
                dx[at + j] = spk_conv_gradient(c, sums[p][j], kept ? kept + at + j : 0);
            }
            at += next;
        }
    }
}

SPK_SHARED void spk_depthwise_back_part(const struct spk_convolution *c,
                                        const struct spk_conv_part *part, const spk_value *dy,
                                        const spk_value *kept, spk_value *dx) {
    const struct spk_window *g = &c->window;
    const int32_t stride = g->stride_right;
    struct spk_depthwise_walk k = {.row = -g->out_width * c->outputs,
                                   .column = -c->outputs,
                                   .pixel = c->outputs,
                                   .weight_row = g->stride_down * g->kernel_width * part->outputs,
                                   .weight_column = stride * part->outputs};
    for (int32_t row = 0; row < g->height; row++) {
        const struct spk_reach down =
            spk_reach_input(row, g->stride_down, g->pad_top, g->kernel_height, g->out_height);
        k.rows = down.count;
        // Pixels that are a stride apart see the same taps, of neighbouring outputs.
        for (int32_t phase = 0; phase < stride; phase++) {
            struct spk_conv_group next;
            for (int32_t at = phase; at < g->width; at += next.pixels * stride) {
                next = spk_conv_inputs_at(g, at, stride);
                k.columns = next.taps.count;
                const int32_t pixel = (row * g->width + at) * c->outputs;
                spk_depthwise_back_pixels(
                    c, &k, part, dy + (down.source * g->out_width + next.taps.source) * c->outputs,
                    down.first * g->kernel_width + next.taps.first, kept ? kept + pixel : 0,
                    dx + pixel, next.pixels);
            }
        }
    }
}

// dy: (out_height, out_width, channels); weights as above; kept: the input (height, width,
// channels) where that is what a ReLU left, or 0; dx: (height, width, channels).
SPK_INLINE void spk_learn_depthwise_conv2d_input_gradient(const struct spk_convolution *c,
                                                          const spk_value *dy,
                                                          const spk_weight *learned,
                                                          const spk_weight *frozen,
                                                          const spk_value *kept, spk_value *dx) {
    const struct spk_conv_part first = {learned, 0, c->learned};
    const struct spk_conv_part second = {frozen, c->learned, c->outputs - c->learned};
    if (c->learned > 0) {
        spk_depthwise_back_part(c, &first, dy, kept, dx);
    }
    if (c->learned < c->outputs) {
        spk_depthwise_back_part(c, &second, dy, kept, dx);
    }
}

// Gradients of some channels (a constant) of one tap, applied at once.
SPK_INLINE void spk_depthwise_block(const struct spk_conv_pixels *k, const struct spk_conv_step *s,
                                    int32_t channel, int32_t weight, bool coded,
                                    uint32_t channels) {
    spk_sum sums[4];
    SPK_CONV_EACH(c, channels) {
        sums[c] = 0;
    }
    const struct spk_source *codes = coded ? k->codes : 0;
    for (int32_t n = 0; n < k->batch; n++) {
        const void *x = spk_conv_skip(spk_conv_sample(k, s, n, coded), channel, coded);
        const spk_value *dy = spk_conv_error(k, s, n) + channel;
        for (int32_t row = k->rows; row > 0; row--) {
            const void *from = x;
            const spk_value *by = dy;
            for (int32_t column = k->columns; column > 0; column--) {
                SPK_CONV_EACH(c, channels) {
                    sums[c] = spk_mac(sums[c], spk_conv_load(from, c, codes), by[c]);
                }
                from = spk_conv_skip(from, k->x_pixel, coded);
                by += k->dy_pixel;
            }
            x = spk_conv_skip(x, k->x_row, coded);
            dy += k->dy_row;
        }
    }
    spk_sum gradients[4][4];
    SPK_CONV_EACH(c, channels) {
        gradients[0][c] = sums[c];
    }
    spk_conv_apply(k, s, gradients, weight, channels, 1);
}

SPK_SHARED void spk_depthwise_block_4(const struct spk_conv_pixels *k,
                                      const struct spk_conv_step *s, int32_t channel,
                                      int32_t weight) {
    spk_depthwise_block(k, s, channel, weight, false, 4);
}

SPK_SHARED void spk_depthwise_block_1(const struct spk_conv_pixels *k,
                                      const struct spk_conv_step *s, int32_t channel,
                                      int32_t weight) {
    spk_depthwise_block(k, s, channel, weight, false, 1);
}

SPK_SHARED void spk_depthwise_codes_block_4(const struct spk_conv_pixels *k,
                                            const struct spk_conv_step *s, int32_t channel,
                                            int32_t weight) {
    spk_depthwise_block(k, s, channel, weight, true, 4);
}

SPK_SHARED void spk_depthwise_codes_block_1(const struct spk_conv_pixels *k,
                                            const struct spk_conv_step *s, int32_t channel,
                                            int32_t weight) {
    spk_depthwise_block(k, s, channel, weight, true, 1);
}

// weight: (kernel_height, kernel_width, learned).
SPK_SHARED void spk_learn_depthwise_conv2d_update(const struct spk_conv_update *c,
                                                  const struct spk_conv_step *s) {
    if (!spk_conv_complete(c, s)) {
        return;
    }
    const struct spk_sgd sgd = spk_conv_now(&c->sgd, s);
    struct spk_conv_pixels k = spk_conv_pixels(c, &sgd);
    k.next = 1;
    int32_t weight = 0;
    for (int32_t i = 0; s->weight && i < c->window.kernel_height; i++) {
        for (int32_t j = 0; j < c->window.kernel_width; j++) {
            spk_conv_at_tap(&k, c, i, j);
            int32_t wide = 4;
            for (int32_t x = 0; x < c->learned; x += wide) {
                wide = x + 4 <= c->learned ? 4 : 1;
                if (SPK_CONV_CODED(c)) {
                    (wide == 4 ? spk_depthwise_codes_block_4
                               : spk_depthwise_codes_block_1)(&k, s, x, weight + x);
                } else {
                    (wide == 4 ? spk_depthwise_block_4 : spk_depthwise_block_1)(&k, s, x,
                                                                                weight + x);
                }
            }
            weight += c->learned;
        }
    }
    spk_conv_update_bias(c, s);
}

#endif
