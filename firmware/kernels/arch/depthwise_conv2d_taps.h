// Depthwise convolution of any shape: a list of where the taps of an output are, for all channels.
// SPDX-License-Identifier: Apache-2.0
//
// Outputs are written pixel by pixel, in order; while the channels of a pixel are written, its
// window is still read. Nothing is read before the first tap of the pixel that is written.
#ifndef SPK_DEPTHWISE_CONV2D_TAPS_H
#define SPK_DEPTHWISE_CONV2D_TAPS_H

#include "kernels/geometry.h"
#include "kernels/requantise.h"

struct spk_depthwise_taps {
    const void *weights;     // in the order that the variant asks for
    const uint16_t *sources; // input channel of each output, where the variant asks for them
    const int8_t *padding;   // (channels,) the input's zero point, or 0 where nothing reaches out
    struct spk_rescale out;  // arrays or scales, as the variant asks for
    const struct spk_scale *scales;
    struct spk_geometry geometry;
};

// The kernels of a variant. `_wide`: some channels are marked, see requantise.h.
#define SPK_DEPTHWISE_TAPS(variant)                                                                \
    SPK_SHARED void spk_depthwise_conv2d_##variant(const struct spk_depthwise_taps *c,             \
                                                   const int8_t *input, const int8_t **list,       \
                                                   int8_t *output) {                               \
        spk_depthwise_##variant(false, c, input, list, output);                                    \
    }                                                                                              \
    SPK_SHARED void spk_depthwise_conv2d_##variant##_wide(const struct spk_depthwise_taps *c,      \
                                                          const int8_t *input,                     \
                                                          const int8_t **list, int8_t *output) {   \
        spk_depthwise_##variant(true, c, input, list, output);                                     \
    }

// The next output, and where its taps are.
struct spk_depthwise_pixel {
    int32_t top; // of the window, in the input; negative above it
    int32_t left;
    bool inside;     // the list is that of a whole window in this row,
    uint32_t offset; // so many codes to the left
};

// Writes the list of the taps of the pixel, all of one channel.
SPK_INLINE void spk_depthwise_list(const struct spk_depthwise_taps *c,
                                   const struct spk_depthwise_pixel *at, const int8_t *input,
                                   const int8_t **tap) {
    const uint32_t step = (uint32_t)c->geometry.dilation_right * c->geometry.channels;
    for (uint32_t i = 0; i < c->geometry.kernel_height; i++) {
        const int32_t down = at->top + (int32_t)(i * c->geometry.dilation_down);
        const bool there = (uint32_t)down < c->geometry.height;
        const int8_t *from = input + (down * c->geometry.width + at->left) * c->geometry.channels;
        int32_t right = at->left;
        for (uint32_t j = 0; j < c->geometry.kernel_width; j++) {
            *tap++ = there && (uint32_t)right < c->geometry.width ? from : c->padding;
            from += step;
            right += c->geometry.dilation_right;
        }
    }
}

// Moves on by one output; makes a new list where the last one will not do.
SPK_INLINE void spk_depthwise_next(const struct spk_depthwise_taps *c, uint32_t y, uint32_t x,
                                   const int8_t *input, const int8_t **tap,
                                   struct spk_depthwise_pixel *at) {
    const int32_t reach = (c->geometry.kernel_width - 1) * c->geometry.dilation_right;
    const int32_t depth = (c->geometry.kernel_height - 1) * c->geometry.dilation_down;
    at->top = (int32_t)(y * c->geometry.stride_down) - c->geometry.pad_top;
    at->left = (int32_t)(x * c->geometry.stride_right) - c->geometry.pad_left;
    const bool inside = at->top >= 0 && at->top + depth < c->geometry.height && at->left >= 0 &&
                        at->left + reach < c->geometry.width;
    if (x > 0 && at->inside && inside) {
        at->offset += (uint32_t)c->geometry.stride_right * c->geometry.channels;
        return;
    }
    at->inside = inside;
    at->offset = 0;
    spk_depthwise_list(c, at, input, tap);
}

// Up to four channels of one output. weights: (taps, 4); source: their input channels, or of the
// first of four neighbours.
SPK_INLINE void spk_depthwise_four(const struct spk_rescale *out, bool wide,
                                   const int8_t *const *tap, const int8_t *const *end,
                                   const uint32_t *source, bool neighbours, const int8_t *weights,
                                   uint32_t channel, uint32_t channels, int8_t *to) {
    int32_t a = 0;
    int32_t b = 0;
    int32_t c = 0;
    int32_t d = 0;
    do {
        const int8_t *from = *tap++ + source[0];
        a += from[0] * weights[0];
        b += from[neighbours ? 1 : source[1] - source[0]] * weights[1];
        c += from[neighbours ? 2 : source[2] - source[0]] * weights[2];
        d += from[neighbours ? 3 : source[3] - source[0]] * weights[3];
        weights += 4;
    } while (tap != end);
    const int32_t sum[4] = {a, b, c, d};
    SPK_UNROLL(4)
    for (uint32_t k = 0; k < 4; k++, channel++) {
        if (k < channels) {
            to[channel] = spk_rescale_marked(out, wide, sum[k] + out->bias[channel],
                                             spk_multiplier_of(out, wide, channel),
                                             spk_shift_of(out, wide, channel));
        }
    }
}

// One output a channel, four channels at the least. weights: (quads, taps, 4), where the last quad
// ends with the last channel. list: (taps,).
SPK_INLINE void spk_depthwise_fours(bool wide, const struct spk_depthwise_taps *c,
                                    const int8_t *input, const int8_t **list, int8_t *output) {
    const struct spk_rescale out = c->out;
    const uint32_t taps = (uint32_t)c->geometry.kernel_height * c->geometry.kernel_width;
    const uint32_t channels = c->geometry.channels;
    struct spk_depthwise_pixel at = {0};
    for (uint32_t y = 0; y < c->geometry.out_height; y++) {
        for (uint32_t x = 0; x < c->geometry.out_width; x++) {
            const int8_t *weights = c->weights;
            spk_depthwise_next(c, y, x, input, list, &at);
            for (uint32_t o = 0; o < channels; o += 4) {
                const uint32_t channel = spk_min_u32(o, channels - 4);
                const uint32_t source = at.offset + channel;
                spk_depthwise_four(&out, wide, list, list + taps, &source, true, weights, channel,
                                   4, output);
                weights += 4 * taps;
            }
            output += channels;
        }
    }
}

// Any number of channels, and of outputs a channel. weights: (quads, taps, 4), sources: (quads, 4).
SPK_INLINE void spk_depthwise_many(bool wide, const struct spk_depthwise_taps *c,
                                   const int8_t *input, const int8_t **list, int8_t *output) {
    const struct spk_rescale out = c->out;
    const uint32_t taps = (uint32_t)c->geometry.kernel_height * c->geometry.kernel_width;
    struct spk_depthwise_pixel at = {0};
    for (uint32_t y = 0; y < c->geometry.out_height; y++) {
        for (uint32_t x = 0; x < c->geometry.out_width; x++) {
            const int8_t *weights = c->weights;
            spk_depthwise_next(c, y, x, input, list, &at);
            for (uint32_t o = 0; o < c->geometry.outputs; o += 4) {
                const uint16_t *from = c->sources + o;
                const uint32_t source[4] = {at.offset + from[0], at.offset + from[1],
                                            at.offset + from[2], at.offset + from[3]};
                spk_depthwise_four(&out, wide, list, list + taps, source, false, weights, o,
                                   c->geometry.outputs - o, output);
                weights += 4 * taps;
            }
            output += c->geometry.outputs;
        }
    }
}

SPK_DEPTHWISE_TAPS(fours)
SPK_DEPTHWISE_TAPS(many)

#endif
