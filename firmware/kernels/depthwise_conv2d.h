// Depthwise int8 convolution. Golden twin: pytools/spikelet/graph/ops/depthwise_conv2d.py.
// SPDX-License-Identifier: Apache-2.0
//
// spk_depthwise_conv2d_3x3* copy a channel before they write it: the output may lie exactly over
// the input. spk_depthwise_conv2d_any writes pixel by pixel, in order, and reads the window of a
// pixel while it writes it, but nothing before that window.
#ifndef SPK_DEPTHWISE_CONV2D_H
#define SPK_DEPTHWISE_CONV2D_H

#include "kernels/requantise.h"

struct spk_depthwise_conv2d {
    const int8_t *weights;  // in the order that the variant asks for
    struct spk_rescale out; // (outputs,)
    uint16_t height;        // of the input, (height, width, channels)
    uint16_t width;
    uint16_t channels;
    uint16_t out_height; // (out_height, out_width, channels * multiplier)
    uint16_t out_width;
    uint16_t multiplier;
    uint16_t kernel_height;
    uint16_t kernel_width;
    uint16_t stride_down;
    uint16_t stride_right;
    uint16_t dilation_down;
    uint16_t dilation_right;
    uint16_t pad_top;
    uint16_t pad_left;
    int16_t zero_point; // of the input
};

// One output, any shape. weights: (kernel_height, kernel_width, outputs).
SPK_INLINE int32_t spk_depthwise_conv2d_sum(const struct spk_depthwise_conv2d *c,
                                            const int8_t *input, int32_t top, int32_t left,
                                            uint32_t channel, const int8_t *weights,
                                            uint32_t outputs) {
    int32_t sum = 0;
    for (uint32_t i = 0; i < c->kernel_height; i++) {
        for (uint32_t j = 0; j < c->kernel_width; j++, weights += outputs) {
            const int32_t y = top + (int32_t)(i * c->dilation_down);
            const int32_t x = left + (int32_t)(j * c->dilation_right);
            const bool there = (uint32_t)y < c->height && (uint32_t)x < c->width;
            const int32_t code =
                there ? input[(y * c->width + x) * c->channels + (int32_t)channel] : c->zero_point;
            sum += spk_times(code, *weights);
        }
    }
    return sum;
}

SPK_INLINE void spk_depthwise_conv2d_plain(const struct spk_depthwise_conv2d *c, bool near,
                                           const int8_t *input, int8_t *output) {
    const uint32_t outputs = (uint32_t)c->channels * c->multiplier;
    for (uint32_t y = 0; y < c->out_height; y++) {
        for (uint32_t x = 0; x < c->out_width; x++) {
            const int32_t top = (int32_t)(y * c->stride_down) - c->pad_top;
            const int32_t left = (int32_t)(x * c->stride_right) - c->pad_left;
            for (uint32_t i = 0, o = 0; i < c->channels; i++) {
                for (uint32_t m = 0; m < c->multiplier; m++, o++) {
                    const int32_t sum =
                        spk_depthwise_conv2d_sum(c, input, top, left, i, c->weights + o, outputs);
                    *output++ = spk_rescale(&c->out, near, c->out.bias[o] + sum,
                                            spk_multiplier_of(&c->out, !near, o),
                                            spk_shift_of(&c->out, !near, o));
                }
            }
        }
    }
}

// How the 3 x 3 kernel walks the image. One channel at a time is copied, with its padding. It is
// walked in lines along the longer side ("along"; the other direction is "across"); the nine
// weights stay in registers and the window slides. A channel's copy is complete before its first
// output is written, so the output may lie exactly over the input.
struct spk_lines {
    const int8_t *weights;  // (channels, 3, 3): across the lines, along them
    struct spk_rescale out; // (channels,)
    int32_t pitch_along;    // codes from one to the next, of the input
    int32_t pitch_across;
    int32_t to_along; // of the output
    int32_t to_across;
    uint16_t along; // of the input, as far as outputs see it
    uint16_t across;
    uint16_t plane_along; // of the copy
    uint16_t plane_across;
    uint16_t out_along; // of the output
    uint16_t out_across;
    uint16_t channels;
    uint8_t stride_along; // 1 or 2
    uint8_t stride_across;
    uint8_t pad_along;
    uint8_t pad_across;
    int16_t zero_point; // of the input
};

// Three codes side by side, one from each line.
struct spk_column {
    int32_t a;
    int32_t b;
    int32_t c;
};

SPK_INLINE struct spk_column spk_column(const int8_t *x) {
    return (struct spk_column){x[0], x[1], x[2]};
}

SPK_INLINE int32_t spk_column_dot(const int32_t *w, struct spk_column x) {
    return spk_times(x.a, w[0]) + spk_times(x.b, w[3]) + spk_times(x.c, w[6]);
}

// One line of outputs of one channel.
SPK_INLINE void spk_depthwise_conv2d_line(const struct spk_lines *l, bool near, const int32_t *w,
                                          uint32_t channel, const int8_t *x, int8_t *to) {
    const int32_t bias = l->out.bias[channel];
    const int32_t multiplier = spk_multiplier_of(&l->out, !near, channel);
    const int32_t shift = spk_shift_of(&l->out, !near, channel);
    const int8_t *const end = to + l->out_along * l->to_along;
    const uint32_t pitch = l->plane_across;
    const uint32_t right = (uint32_t)-shift;
    int32_t offset = near ? spk_near_offset(right, l->out.zero_point - l->out.low) : 0;
    SPK_OPAQUE(offset); // one constant of a line
    struct spk_column a = spk_column(x);
    struct spk_column b = spk_column(x + pitch);
    x += 2 * pitch;
    do {
        const struct spk_column c = spk_column(x);
        x += pitch;
        const int32_t sum = bias + spk_column_dot(w, a) + spk_column_dot(w + 1, b);
        const int32_t whole = sum + spk_column_dot(w + 2, c);
        if (near) {
            const int32_t code = spk_requantise_offset(whole, multiplier, right, offset);
            *to = (int8_t)spk_clamp_code(&l->out, (uint32_t)code);
        } else {
            *to = spk_rescale(&l->out, false, whole, multiplier, shift - SPK_FAR);
        }
        to += l->to_along;
        if (l->stride_along == 1) {
            a = b;
            b = c;
        } else {
            a = c;
            b = spk_column(x);
            x += pitch;
        }
    } while (to != end);
}

// plane: (plane_along, plane_across), and one line more with stride 2.
SPK_INLINE void spk_depthwise_conv2d_lines(const struct spk_lines *l, bool wide,
                                           const int8_t *input, int8_t *plane, int8_t *output) {
    const uint32_t size = (uint32_t)l->plane_along * l->plane_across;
    for (uint32_t i = 0; i < size; i++) {
        plane[i] = (int8_t)l->zero_point;
    }
    for (uint32_t channel = 0; channel < l->channels; channel++) {
        int8_t *copy = plane + l->pad_along * l->plane_across + l->pad_across;
        for (uint32_t i = 0; i < l->along; i++) {
            const int8_t *from = input + channel + (int32_t)i * l->pitch_along;
            for (uint32_t j = 0; j < l->across; j++) {
                copy[j] = *from;
                from += l->pitch_across;
            }
            copy += l->plane_across;
        }
        const int8_t *weights = l->weights + 9 * channel;
        int32_t w[9];
        SPK_UNROLL(9)
        for (uint32_t i = 0; i < 9; i++) {
            w[i] = weights[i];
        }
        for (uint32_t y = 0; y < l->out_across; y++) {
            const int8_t *x = plane + y * l->stride_across;
            int8_t *to = output + y * (uint32_t)l->to_across + channel;
            if (wide && spk_shift_of(&l->out, true, channel) > 0) {
                spk_depthwise_conv2d_line(l, false, w, channel, x, to);
            } else {
                spk_depthwise_conv2d_line(l, true, w, channel, x, to);
            }
        }
    }
}

// 3 x 3 taps side by side, one output a channel. `_2`: stride 2 along the lines; `_wide`: some
// channels are marked, see requantise.h.
#define SPK_DEPTHWISE_LINES(name, stride, wide)                                                    \
    SPK_SHARED void spk_depthwise_conv2d_3x3##name(                                                \
        const struct spk_lines *lines, const int8_t *input, uint32_t *plane, int8_t *output) {     \
        struct spk_lines l = *lines; /* the compiler sees that no output changes it */             \
        l.stride_along = stride;                                                                   \
        spk_depthwise_conv2d_lines(&l, wide, input, (int8_t *)plane, output);                      \
    }

SPK_DEPTHWISE_LINES(, 1, false)
SPK_DEPTHWISE_LINES(_wide, 1, true)
SPK_DEPTHWISE_LINES(_2, 2, false)
SPK_DEPTHWISE_LINES(_2_wide, 2, true)

// Any shape, any scale. weights: (kernel_height, kernel_width, outputs).
SPK_SHARED void spk_depthwise_conv2d_any(const struct spk_depthwise_conv2d *c, const int8_t *input,
                                         int8_t *output) {
    spk_depthwise_conv2d_plain(c, false, input, output);
}

#endif
