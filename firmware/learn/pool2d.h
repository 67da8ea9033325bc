// Average and max pools on values of a precision, and their input gradients. Golden twins:
// pytools/spikelet/learn/layers/{average,max}_pool2d.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LEARN_POOL2D_H
#define SPK_LEARN_POOL2D_H

#include "learn/scalar.h"
#include "learn/window.h"

struct spk_learn_pool2d {
    struct spk_window window;
    struct spk_narrowing scale; // of what is written
    // Part of each of a window's pixels, by the rows and columns that lie inside: (kernel_height,
    // kernel_width); 0 where all windows lie inside and `factor` is for them.
    const spk_sum *factors;
    spk_sum factor;
};

SPK_INLINE struct spk_reach spk_pool_down(const struct spk_window *g, int32_t at) {
    return spk_reach_output(at, g->stride_down, g->pad_top, g->kernel_height, g->height);
}

SPK_INLINE struct spk_reach spk_pool_right(const struct spk_window *g, int32_t at) {
    return spk_reach_output(at, g->stride_right, g->pad_left, g->kernel_width, g->width);
}

SPK_INLINE spk_sum spk_pool_factor(const struct spk_learn_pool2d *c, int32_t rows,
                                   int32_t columns) {
    return c->factors ? c->factors[(rows - 1) * c->window.kernel_width + columns - 1] : c->factor;
}

SPK_INLINE spk_value spk_pool_value(const struct spk_learn_pool2d *c, spk_sum sum) {
#if SPK_SCALAR_FLOAT
    (void)c;
    return sum;
#else
    return spk_narrow(sum, &c->scale);
#endif
}

// x: (height, width, channels); y: (out_height, out_width, channels).
SPK_SHARED void spk_learn_average_pool2d_forward(const struct spk_learn_pool2d *c,
                                                 const spk_value *x, spk_value *y) {
    const struct spk_window *g = &c->window;
    for (int32_t i = 0; i < g->out_height; i++) {
        const struct spk_reach down = spk_pool_down(g, i);
        for (int32_t j = 0; j < g->out_width; j++) {
            const struct spk_reach right = spk_pool_right(g, j);
            const spk_sum factor = spk_pool_factor(c, down.count, right.count);
            const spk_value *first = x + (down.source * g->width + right.source) * g->channels;
            for (int32_t channel = 0; channel < g->channels; channel++) {
                spk_sum sum = 0;
                for (int32_t row = 0; row < down.count; row++) {
                    const spk_value *from = first + row * g->width * g->channels + channel;
                    for (int32_t column = 0; column < right.count; column++) {
                        sum += *from;
                        from += g->channels;
                    }
                }
                *y++ = spk_pool_value(c, spk_mac(0, sum, factor));
            }
        }
    }
}

// dy: (out_height, out_width, channels); kept: the input where a ReLU made it, or 0; dx: (height,
// width, channels).
SPK_SHARED void spk_learn_average_pool2d_input_gradient(const struct spk_learn_pool2d *c,
                                                        const spk_value *dy, const spk_value *kept,
                                                        spk_value *dx) {
    const struct spk_window *g = &c->window;
    const int32_t pixels = g->height * g->width;
    int32_t i = 0;
    int32_t j = 0;
    for (int32_t pixel = 0; pixel < pixels; pixel++) {
        const struct spk_reach down =
            spk_reach_input(i, g->stride_down, g->pad_top, g->kernel_height, g->out_height);
        const struct spk_reach right =
            spk_reach_input(j, g->stride_right, g->pad_left, g->kernel_width, g->out_width);
        for (int32_t channel = 0; channel < g->channels; channel++) {
            spk_sum sum = 0;
            for (int32_t row = 0; row < down.count; row++) {
                const int32_t out = down.source - row;
                const int32_t rows = spk_pool_down(g, out).count;
                for (int32_t column = 0; column < right.count; column++) {
                    const int32_t at = right.source - column;
                    const spk_sum error = dy[(out * g->out_width + at) * g->channels + channel];
                    const int32_t columns = spk_pool_right(g, at).count;
                    sum = spk_mac(sum, error, spk_pool_factor(c, rows, columns));
                }
            }
            const bool off = kept && !(kept[channel] > 0);
            dx[channel] = off ? 0 : spk_pool_value(c, sum);
        }
        dx += g->channels;
        kept = kept ? kept + g->channels : kept;
        if (++j == g->width) {
            j = 0;
            i++;
        }
    }
}

// The first of the largest values of a window: where it lies in x, from the window's first on.
SPK_INLINE int32_t spk_pool_largest(const struct spk_window *g, const spk_value *x, int32_t rows,
                                    int32_t columns) {
    int32_t best = 0;
    for (int32_t row = 0; row < rows; row++) {
        int32_t at = row * g->width * g->channels;
        for (int32_t column = 0; column < columns; column++) {
            best = x[at] > x[best] ? at : best;
            at += g->channels;
        }
    }
    return best;
}

// x: (height, width, channels); y: (out_height, out_width, channels).
SPK_SHARED void spk_learn_max_pool2d_forward(const struct spk_learn_pool2d *c, const spk_value *x,
                                             spk_value *y) {
    const struct spk_window *g = &c->window;
    for (int32_t i = 0; i < g->out_height; i++) {
        const struct spk_reach down = spk_pool_down(g, i);
        for (int32_t j = 0; j < g->out_width; j++) {
            const struct spk_reach right = spk_pool_right(g, j);
            const spk_value *from = x + (down.source * g->width + right.source) * g->channels;
            for (int32_t channel = 0; channel < g->channels; channel++) {
                *y++ = from[spk_pool_largest(g, from, down.count, right.count)];
                from++;
            }
        }
    }
}

// Each error goes to the largest input of its window, where it is added. mask: only where that is
// positive, because a ReLU made x. Shapes as above.
SPK_SHARED void spk_learn_max_pool2d_input_gradient(const struct spk_learn_pool2d *c,
                                                    const spk_value *dy, const spk_value *x,
                                                    bool mask, spk_value *dx) {
    const struct spk_window *g = &c->window;
    const int32_t size = g->height * g->width * g->channels;
    for (int32_t i = 0; i < size; i++) {
        dx[i] = 0;
    }
    for (int32_t i = 0; i < g->out_height; i++) {
        const struct spk_reach down = spk_pool_down(g, i);
        for (int32_t j = 0; j < g->out_width; j++) {
            const struct spk_reach right = spk_pool_right(g, j);
            const int32_t first = (down.source * g->width + right.source) * g->channels;
            for (int32_t channel = first; channel < first + g->channels; channel++) {
                const int32_t at =
                    channel + spk_pool_largest(g, x + channel, down.count, right.count);
                const spk_sum error = *dy++;
                if (mask && !(x[at] > 0)) {
                    continue;
                }
#if SPK_SCALAR_FLOAT
                dx[at] += error;
#else
                dx[at] = (spk_value)spk_clip(dx[at] + error, c->scale.limit);
#endif
            }
        }
    }
}

#endif
