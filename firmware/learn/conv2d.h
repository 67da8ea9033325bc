// Two-dimensional convolution that learns: forward, weight gradient with update, input gradient.
// Golden twin: pytools/spikelet/learn/layers/conv2d.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LEARN_CONV2D_H
#define SPK_LEARN_CONV2D_H

#include "learn/convolution.h"

// What a tile of sums walks over: rows x columns runs of products. Steps count elements.
struct spk_conv_walk {
    int32_t rows, columns, run;
    int32_t row, column, pixel; // of the source: from run to run, from pixel to pixel
    int32_t weight_row, weight_column;
    int32_t weight_step; // forward: from product to product; backward: from input to input
    const struct spk_source *codes;
};

// Adds the products at `at` of runs of values x (pixels) by weights w (channels), or, forward, of
// the weights at `by` that lie side by side.
SPK_INLINE void spk_conv_products(spk_sum sums[4][4], const void *const x[4],
                                  const spk_weight *const w[4], const spk_weight *by, uint32_t at,
                                  const struct spk_source *codes, bool forward, uint32_t pixels,
                                  uint32_t channels) {
    spk_sum weight[4];
    SPK_CONV_EACH(c, channels) {
        weight[c] = spk_widen(forward ? by[c] : w[c][at]);
    }
    SPK_CONV_EACH(p, pixels) {
        const spk_sum value = spk_conv_load(x[p], at, codes);
        SPK_CONV_EACH(c, channels) {
            sums[p][c] = spk_mac(sums[p][c], value, weight[c]);
        }
    }
}

// Sums of pixels x channels, both constants. The weights of a product lie side by side in the
// forward pass, and weight_step apart in the other one, where a run is over the outputs.
// start: (pixels, 4), of which one row follows the other, or is the other where they are alike.
SPK_INLINE void spk_conv_tile(spk_sum held[4][4], const spk_sum *start, bool alike,
                              const struct spk_conv_walk *k, const void *x,
                              const spk_weight *weights, bool coded, bool forward, uint32_t pixels,
                              uint32_t channels) {
    spk_sum sums[4][4];
    SPK_CONV_EACH(p, pixels) {
        SPK_CONV_EACH(c, channels) {
            sums[p][c] = start[c];
        }
        start += alike ? 0 : 4;
    }
    const struct spk_source *codes = coded ? k->codes : 0;
    const int32_t step = k->weight_step;
    const int32_t rest = k->run % SPK_CONV_UNROLL;
    for (int32_t row = k->rows; row > 0; row--) {
        const void *from = x;
        const spk_weight *first = weights;
        for (int32_t column = k->columns; column > 0; column--) {
            const void *v[4];
            const spk_weight *w[4];
            const spk_weight *by = first;
            SPK_CONV_EACH(p, pixels) {
                v[p] = spk_conv_skip(from, (int32_t)p * k->pixel, coded);
            }
            SPK_CONV_EACH(c, channels) {
                w[c] = first + (int32_t)c * step;
            }
            const void *even = spk_conv_skip(from, k->run - rest, coded);
            while (v[0] != even) {
                SPK_CONV_EACH(n, SPK_CONV_UNROLL) {
                    spk_conv_products(sums, v, w, by, n, codes, forward, pixels, channels);
                    by += step;
                    SPK_IN_ORDER(); // else loads take the registers of the sums
                }
                SPK_CONV_EACH(p, pixels) {
                    v[p] = spk_conv_skip(v[p], SPK_CONV_UNROLL, coded);
                }
                if (!forward) {
                    SPK_CONV_EACH(c, channels) {
                        w[c] += SPK_CONV_UNROLL;
                    }
                }
            }
            const void *end = spk_conv_skip(from, k->run, coded);
            while (v[0] != end) {
                spk_conv_products(sums, v, w, by, 0, codes, forward, pixels, channels);
                by += step;
                SPK_CONV_EACH(p, pixels) {
                    v[p] = spk_conv_skip(v[p], 1, coded);
                }
                if (!forward) {
                    SPK_CONV_EACH(c, channels) {
                        w[c]++;
                    }
                }
            }
            from = spk_conv_skip(from, k->column, coded);
            first += k->weight_column;
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

SPK_SHARED void spk_conv_forward_wide_4(spk_sum sums[4][4], const spk_sum *bias,
                                        const struct spk_conv_walk *k, const void *x,
                                        const spk_weight *weights) {
    spk_conv_tile(sums, bias, true, k, x, weights, false, true, SPK_CONV_WIDE, 4);
}

SPK_SHARED void spk_conv_forward_wide_1(spk_sum sums[4][4], const spk_sum *bias,
                                        const struct spk_conv_walk *k, const void *x,
                                        const spk_weight *weights) {
    spk_conv_tile(sums, bias, true, k, x, weights, false, true, SPK_CONV_WIDE, 1);
}

SPK_SHARED void spk_conv_forward_one_4(spk_sum sums[4][4], const spk_sum *bias,
                                       const struct spk_conv_walk *k, const void *x,
                                       const spk_weight *weights) {
    spk_conv_tile(sums, bias, true, k, x, weights, false, true, 1, 4);
}

SPK_SHARED void spk_conv_forward_one_1(spk_sum sums[4][4], const spk_sum *bias,
                                       const struct spk_conv_walk *k, const void *x,
                                       const spk_weight *weights) {
    spk_conv_tile(sums, bias, true, k, x, weights, false, true, 1, 1);
}

SPK_SHARED void spk_conv_codes_wide_4(spk_sum sums[4][4], const spk_sum *bias,
                                      const struct spk_conv_walk *k, const void *x,
                                      const spk_weight *weights) {
    spk_conv_tile(sums, bias, true, k, x, weights, true, true, SPK_CONV_WIDE, 4);
}

SPK_SHARED void spk_conv_codes_wide_1(spk_sum sums[4][4], const spk_sum *bias,
                                      const struct spk_conv_walk *k, const void *x,
                                      const spk_weight *weights) {
    spk_conv_tile(sums, bias, true, k, x, weights, true, true, SPK_CONV_WIDE, 1);
}

SPK_SHARED void spk_conv_codes_one_4(spk_sum sums[4][4], const spk_sum *bias,
                                     const struct spk_conv_walk *k, const void *x,
                                     const spk_weight *weights) {
    spk_conv_tile(sums, bias, true, k, x, weights, true, true, 1, 4);
}

SPK_SHARED void spk_conv_codes_one_1(spk_sum sums[4][4], const spk_sum *bias,
                                     const struct spk_conv_walk *k, const void *x,
                                     const spk_weight *weights) {
    spk_conv_tile(sums, bias, true, k, x, weights, true, true, 1, 1);
}

SPK_INLINE void spk_conv_forward_sums(spk_sum sums[4][4], const spk_sum *bias,
                                      const struct spk_conv_walk *k, const void *x,
                                      const spk_weight *weights, bool coded, uint32_t pixels,
                                      uint32_t channels) {
    if (coded && channels == 4) {
        (pixels == 1 ? spk_conv_codes_one_4 : spk_conv_codes_wide_4)(sums, bias, k, x, weights);
    } else if (coded) {
        (pixels == 1 ? spk_conv_codes_one_1 : spk_conv_codes_wide_1)(sums, bias, k, x, weights);
    } else if (channels == 4) {
        (pixels == 1 ? spk_conv_forward_one_4 : spk_conv_forward_wide_4)(sums, bias, k, x, weights);
    } else {
        (pixels == 1 ? spk_conv_forward_one_1 : spk_conv_forward_wide_1)(sums, bias, k, x, weights);
    }
}

// Outputs of one or SPK_CONV_WIDE neighbouring pixels; x: of the first one's first tap.
SPK_SHARED void spk_conv_forward_pixels(const struct spk_convolution *c,
                                        const struct spk_conv_walk *k, const void *x,
                                        const spk_weight *weights, int32_t outputs,
                                        const spk_sum *bias, spk_value *y, uint32_t pixels) {
    const bool coded = SPK_CONV_CODED(c);
    spk_sum sums[4][4];
    int32_t o = 0;
    for (; o + 4 <= outputs; o += 4) {
        spk_conv_forward_sums(sums, bias + o, k, x, weights + o, coded, pixels, 4);
        spk_value *to = y + o;
        for (uint32_t p = 0; p < pixels; p++) {
            SPK_UNROLL(SPK_CONV_WRITES)
            for (uint32_t j = 0; j < 4; j++) {
                to[j] = spk_conv_output(c, sums[p][j]);
            }
            to += c->outputs;
        }
    }
    for (; o < outputs; o++) {
        spk_conv_forward_sums(sums, bias + o, k, x, weights + o, coded, pixels, 1);
        spk_value *to = y + o;
        for (uint32_t p = 0; p < pixels; p++) {
            *to = spk_conv_output(c, sums[p][0]);
            to += c->outputs;
        }
    }
}

SPK_SHARED void spk_conv_forward_part(const struct spk_convolution *c,
                                      const struct spk_conv_part *part, const void *x,
                                      const spk_sum *bias, spk_value *y) {
    const struct spk_window *g = &c->window;
    const int32_t tap = g->channels * part->outputs;
    struct spk_conv_walk k = {.columns = 1,
                              .row = g->width * g->channels,
                              .pixel = g->stride_right * g->channels,
                              .weight_row = g->kernel_width * tap,
                              .weight_step = part->outputs,
                              .codes = &c->source};
    y += part->first;
    bias += part->first;
    for (int32_t at = 0; at < g->out_height; at++) {
        const struct spk_reach down =
            spk_reach_output(at, g->stride_down, g->pad_top, g->kernel_height, g->height);
        k.rows = down.count;
        struct spk_conv_group next;
        for (int32_t to = 0; to < g->out_width; to += next.pixels) {
            next = spk_conv_outputs_at(g, to);
            k.run = next.taps.count * g->channels;
            const int32_t from = down.source * k.row + next.taps.source * g->channels;
            spk_conv_forward_pixels(c, &k, spk_conv_skip(x, from, SPK_CONV_CODED(c)),
                                    part->weights + down.first * k.weight_row +
                                        next.taps.first * tap,
                                    part->outputs, bias, y, (uint32_t)next.pixels);
            y += next.pixels * c->outputs;
        }
    }
}

// x: (height, width, channels), values or codes; learned: weights (kernel_height, kernel_width,
// channels, learned); frozen: those of the other outputs; bias: (outputs,); y: (out_height,
// out_width, outputs).
SPK_INLINE void spk_learn_conv2d_forward(const struct spk_convolution *c, const void *x,
                                         const spk_weight *learned, const spk_weight *frozen,
                                         const spk_sum *bias, spk_value *y) {
    const struct spk_conv_part first = {learned, 0, c->learned};
    const struct spk_conv_part second = {frozen, c->learned, c->outputs - c->learned};
    if (c->learned > 0) {
        spk_conv_forward_part(c, &first, x, bias, y);
    }
    if (c->learned < c->outputs) {
        spk_conv_forward_part(c, &second, x, bias, y);
    }
}

SPK_SHARED void spk_conv_back_wide_4(spk_sum sums[4][4], const spk_sum *start, bool alike,
                                     const struct spk_conv_walk *k, const void *dy,
                                     const spk_weight *weights) {
    spk_conv_tile(sums, start, alike, k, dy, weights, false, false, SPK_CONV_WIDE, 4);
}

SPK_SHARED void spk_conv_back_wide_1(spk_sum sums[4][4], const spk_sum *start, bool alike,
                                     const struct spk_conv_walk *k, const void *dy,
                                     const spk_weight *weights) {
    spk_conv_tile(sums, start, alike, k, dy, weights, false, false, SPK_CONV_WIDE, 1);
}

SPK_SHARED void spk_conv_back_one_4(spk_sum sums[4][4], const spk_sum *start, bool alike,
                                    const struct spk_conv_walk *k, const void *dy,
                                    const spk_weight *weights) {
    spk_conv_tile(sums, start, alike, k, dy, weights, false, false, 1, 4);
}

SPK_SHARED void spk_conv_back_one_1(spk_sum sums[4][4], const spk_sum *start, bool alike,
                                    const struct spk_conv_walk *k, const void *dy,
                                    const spk_weight *weights) {
    spk_conv_tile(sums, start, alike, k, dy, weights, false, false, 1, 1);
}

// Sums of one or SPK_CONV_WIDE pixels of the input; the arguments are those of what follows.
SPK_INLINE void spk_conv_back_sums(spk_sum sums[4][4], const struct spk_conv_walk k[2],
                                   const struct spk_conv_part part[2], const spk_value *dy,
                                   int32_t offset, uint32_t pixels, uint32_t channels) {
    static const spk_sum zero[4];
    const spk_sum *start = zero;
    for (uint32_t n = 0; n < 2; n++) {
        const spk_value *from = dy + part[n].first;
        const int32_t outputs = part[n].outputs;
        const bool alike = start == zero;
        if (outputs == 0) {
            continue;
        }
        const spk_weight *by = part[n].weights + offset * outputs;
        if (channels == 4) {
            (pixels == 1 ? spk_conv_back_one_4 : spk_conv_back_wide_4)(sums, start, alike, &k[n],
                                                                       from, by);
        } else {
            (pixels == 1 ? spk_conv_back_one_1 : spk_conv_back_wide_1)(sums, start, alike, &k[n],
                                                                       from, by);
        }
        start = sums[0];
    }
}

// One or SPK_CONV_WIDE pixels of the input, a stride apart. dy: of the first one's first tap, whose
// weights begin at `offset` in those of one output; kept, dx: of the first pixel.
SPK_SHARED void spk_conv_back_pixels(const struct spk_convolution *c,
                                     const struct spk_conv_walk k[2],
                                     const struct spk_conv_part part[2], const spk_value *dy,
                                     int32_t offset, const spk_value *kept, spk_value *dx,
                                     uint32_t pixels) {
    const int32_t channels = c->window.channels;
    const int32_t next = c->window.stride_right * channels;
    spk_sum sums[4][4];
    int32_t i = 0;
    for (; i + 4 <= channels; i += 4) {
        spk_conv_back_sums(sums, k, part, dy, offset + i, pixels, 4);
        int32_t at = i;
        for (uint32_t p = 0; p < pixels; p++) {
            SPK_UNROLL(SPK_CONV_WRITES)
            for (uint32_t j = 0; j < 4; j++) {
                const int32_t to = at + (int32_t)j;
                dx[to] = spk_conv_gradient(c, sums[p][j], kept ? kept + to : 0);
            }
            at += next;
        }
    }
    for (; i < channels; i++) {
        spk_conv_back_sums(sums, k, part, dy, offset + i, pixels, 1);
        int32_t at = i;
        for (uint32_t p = 0; p < pixels; p++) {
            dx[at] = spk_conv_gradient(c, sums[p][0], kept ? kept + at : 0);
            at += next;
        }
    }
}

// One row of the input. Pixels that are a stride apart see the same taps, of neighbouring outputs.
SPK_INLINE void spk_conv_back_row(const struct spk_convolution *c, struct spk_conv_walk k[2],
                                  const struct spk_conv_part part[2], const spk_value *dy,
                                  int32_t first_tap, const spk_value *kept, spk_value *dx) {
    const struct spk_window *g = &c->window;
    const int32_t stride = g->stride_right;
    for (int32_t phase = 0; phase < stride; phase++) {
        int32_t wide = 1;
        for (int32_t at = phase; at < g->width; at += wide * stride) {
            const struct spk_conv_group next = spk_conv_inputs_at(g, at, stride);
            wide = next.pixels;
            k[0].columns = next.taps.count;
            k[1].columns = next.taps.count;
            const int32_t pixel = at * g->channels;
            spk_conv_back_pixels(c, k, part, dy + next.taps.source * c->outputs,
                                 (first_tap + next.taps.first) * g->channels,
                                 kept ? kept + pixel : 0, dx + pixel, (uint32_t)wide);
        }
    }
}

// dy: (out_height, out_width, outputs); weights as above; kept: the input (height, width, channels)
// where that is what a ReLU left, or 0; dx: (height, width, channels).
SPK_SHARED void spk_learn_conv2d_input_gradient(const struct spk_convolution *c,
                                                const spk_value *dy, const spk_weight *learned,
                                                const spk_weight *frozen, const spk_value *kept,
                                                spk_value *dx) {
    const struct spk_window *g = &c->window;
    const struct spk_conv_part part[2] = {{learned, 0, c->learned},
                                          {frozen, c->learned, c->outputs - c->learned}};
    struct spk_conv_walk k[2];
    SPK_UNROLL(1)
    for (uint32_t i = 0; i < 2; i++) {
        const int32_t outputs = part[i].outputs;
        k[i] = (struct spk_conv_walk){.run = outputs,
                                      .row = -g->out_width * c->outputs,
                                      .column = -c->outputs,
                                      .pixel = c->outputs,
                                      .weight_row =
                                          g->stride_down * g->kernel_width * g->channels * outputs,
                                      .weight_column = g->stride_right * g->channels * outputs,
                                      .weight_step = outputs};
    }
    const int32_t row = g->width * g->channels;
    for (int32_t at = 0; at < g->height; at++) {
        const struct spk_reach down =
            spk_reach_input(at, g->stride_down, g->pad_top, g->kernel_height, g->out_height);
        k[0].rows = down.count;
        k[1].rows = down.count;
        spk_conv_back_row(c, k, part, dy - down.source * k[0].row, down.first * g->kernel_width,
                          kept ? kept + at * row : 0, dx + at * row);
    }
}

// Gradients of inputs x outputs weights of one tap (both constants), applied at once. x, dy: first
// channel of the input and of the error.
SPK_INLINE void spk_conv_block(const struct spk_conv_pixels *k, const struct spk_conv_step *s,
                               int32_t x, int32_t dy, int32_t weight, bool coded, uint32_t inputs,
                               uint32_t outputs) {
    spk_sum sums[4][4];
    SPK_CONV_EACH(o, outputs) {
        SPK_CONV_EACH(i, inputs) {
            sums[o][i] = 0;
        }
    }
    const struct spk_source *codes = coded ? k->codes : 0;
    const int32_t x_pixel = k->x_pixel;
    const int32_t dy_pixel = k->dy_pixel;
    for (int32_t n = 0; n < k->batch; n++) {
        const void *x_row = spk_conv_skip(spk_conv_sample(k, s, n, coded), x, coded);
        const spk_value *dy_row = spk_conv_error(k, s, n) + dy;
        for (int32_t row = k->rows; row > 0; row--) {
            const void *from = x_row;
            const spk_value *by = dy_row;
            const spk_value *end = dy_row + k->columns * dy_pixel;
            SPK_UNROLL(2)
            while (by != end) {
                spk_sum value[4];
                SPK_CONV_EACH(o, outputs) {
                    value[o] = by[o];
                }
                SPK_CONV_EACH(i, inputs) {
                    const spk_sum input = spk_conv_load(from, i, codes);
                    SPK_CONV_EACH(o, outputs) {
                        sums[o][i] = spk_mac(sums[o][i], input, value[o]);
                    }
                }
                from = spk_conv_skip(from, x_pixel, coded);
                by += dy_pixel;
            }
            x_row = spk_conv_skip(x_row, k->x_row, coded);
            dy_row += k->dy_row;
        }
    }
    spk_sum gradients[4][4]; // in memory, so that the sums are in registers
    SPK_CONV_EACH(o, outputs) {
        SPK_CONV_EACH(i, inputs) {
            gradients[o][i] = sums[o][i];
        }
    }
    spk_conv_apply(k, s, gradients, weight, inputs, outputs);
}

SPK_SHARED void spk_conv_block_4_wide(const struct spk_conv_pixels *k,
                                      const struct spk_conv_step *s, int32_t x, int32_t dy,
                                      int32_t weight) {
    spk_conv_block(k, s, x, dy, weight, false, 4, SPK_CONV_WIDE);
}

SPK_SHARED void spk_conv_block_4_one(const struct spk_conv_pixels *k, const struct spk_conv_step *s,
                                     int32_t x, int32_t dy, int32_t weight) {
    spk_conv_block(k, s, x, dy, weight, false, 4, 1);
}

SPK_SHARED void spk_conv_block_1_wide(const struct spk_conv_pixels *k,
                                      const struct spk_conv_step *s, int32_t x, int32_t dy,
                                      int32_t weight) {
    spk_conv_block(k, s, x, dy, weight, false, 1, SPK_CONV_WIDE);
}

SPK_SHARED void spk_conv_block_1_one(const struct spk_conv_pixels *k, const struct spk_conv_step *s,
                                     int32_t x, int32_t dy, int32_t weight) {
    spk_conv_block(k, s, x, dy, weight, false, 1, 1);
}

SPK_SHARED void spk_conv_codes_block_4_wide(const struct spk_conv_pixels *k,
                                            const struct spk_conv_step *s, int32_t x, int32_t dy,
                                            int32_t weight) {
    spk_conv_block(k, s, x, dy, weight, true, 4, SPK_CONV_WIDE);
}

SPK_SHARED void spk_conv_codes_block_4_one(const struct spk_conv_pixels *k,
                                           const struct spk_conv_step *s, int32_t x, int32_t dy,
                                           int32_t weight) {
    spk_conv_block(k, s, x, dy, weight, true, 4, 1);
}

SPK_SHARED void spk_conv_codes_block_1_wide(const struct spk_conv_pixels *k,
                                            const struct spk_conv_step *s, int32_t x, int32_t dy,
                                            int32_t weight) {
    spk_conv_block(k, s, x, dy, weight, true, 1, SPK_CONV_WIDE);
}

SPK_SHARED void spk_conv_codes_block_1_one(const struct spk_conv_pixels *k,
                                           const struct spk_conv_step *s, int32_t x, int32_t dy,
                                           int32_t weight) {
    spk_conv_block(k, s, x, dy, weight, true, 1, 1);
}

// Weights of one tap from channel x on: `inputs` (4 or 1) of all outputs.
SPK_INLINE void spk_conv_update_inputs(const struct spk_conv_update *c,
                                       const struct spk_conv_pixels *k,
                                       const struct spk_conv_step *s, int32_t x, int32_t weight,
                                       uint32_t inputs) {
    const int32_t most = (int32_t)SPK_CONV_WIDE;
    int32_t wide = 1;
    for (int32_t o = 0; o < c->learned; o += wide) {
        wide = o + most <= c->learned ? most : 1;
        const int32_t to = weight + o;
        if (SPK_CONV_CODED(c) && inputs == 4) {
            (wide == 1 ? spk_conv_codes_block_4_one : spk_conv_codes_block_4_wide)(k, s, x, o, to);
        } else if (SPK_CONV_CODED(c)) {
            (wide == 1 ? spk_conv_codes_block_1_one : spk_conv_codes_block_1_wide)(k, s, x, o, to);
        } else if (inputs == 4) {
            (wide == 1 ? spk_conv_block_4_one : spk_conv_block_4_wide)(k, s, x, o, to);
        } else {
            (wide == 1 ? spk_conv_block_1_one : spk_conv_block_1_wide)(k, s, x, o, to);
        }
    }
}

// weight: (kernel_height, kernel_width, channels, learned).
SPK_SHARED void spk_learn_conv2d_update(const struct spk_conv_update *c,
                                        const struct spk_conv_step *s) {
    if (!spk_conv_complete(c, s)) {
        return;
    }
    const struct spk_sgd sgd = spk_conv_now(&c->sgd, s);
    struct spk_conv_pixels k = spk_conv_pixels(c, &sgd);
    const int32_t channels = c->window.channels;
    int32_t weight = 0;
    for (int32_t i = 0; s->weight && i < c->window.kernel_height; i++) {
        for (int32_t j = 0; j < c->window.kernel_width; j++) {
            spk_conv_at_tap(&k, c, i, j);
            int32_t x = 0;
            for (; x + 4 <= channels; x += 4) {
                spk_conv_update_inputs(c, &k, s, x, weight, 4);
                weight += 4 * c->learned;
            }
            for (; x < channels; x++) {
                spk_conv_update_inputs(c, &k, s, x, weight, 1);
                weight += c->learned;
            }
        }
    }
    spk_conv_update_bias(c, s);
}

#endif
