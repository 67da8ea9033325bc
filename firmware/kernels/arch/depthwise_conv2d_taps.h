// Where the taps of a depthwise output are, for the variants of Arm's extensions.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_DEPTHWISE_CONV2D_TAPS_H
#define SPK_DEPTHWISE_CONV2D_TAPS_H

#include "kernels/requantise.h"

enum { SPK_DEPTHWISE_TAPS = 32 }; // at most

struct spk_depthwise_taps {
    const void *weights;    // in the order that the variant asks for
    const int8_t *padding;  // (channels,) the input's zero point, or 0 where nothing reaches out
    struct spk_rescale out; // arrays or scales, as the variant asks for
    const struct spk_scale *scales;
    uint16_t height; // of the input, (height, width, channels)
    uint16_t width;
    uint16_t channels;
    uint16_t out_height;
    uint16_t out_width;
    uint16_t kernel_height;
    uint16_t kernel_width;
    uint16_t stride_down;
    uint16_t stride_right;
    uint16_t dilation_down;
    uint16_t dilation_right;
    uint16_t pad_top;
    uint16_t pad_left;
};

// Where each tap of an output at (y, x) is; answers the end of the list.
SPK_INLINE const int8_t **spk_depthwise_find(const struct spk_depthwise_taps *c, uint32_t y,
                                             uint32_t x, const int8_t *input, const int8_t **tap) {
    const int32_t top = (int32_t)(y * c->stride_down) - c->pad_top;
    const int32_t left = (int32_t)(x * c->stride_right) - c->pad_left;
    for (uint32_t i = 0; i < c->kernel_height; i++) {
        const int32_t down = top + (int32_t)(i * c->dilation_down);
        int32_t right = left;
        for (uint32_t j = 0; j < c->kernel_width; j++) {
            const bool there = (uint32_t)down < c->height && (uint32_t)right < c->width;
            *tap++ = there ? input + (down * c->width + right) * c->channels : c->padding;
            right += c->dilation_right;
        }
    }
    return tap;
}

#endif
