// Sizes and places of a convolution: what the kernels of any layer with windows walk over.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_GEOMETRY_H
#define SPK_GEOMETRY_H

#include <stdint.h>

// Output (y, x) sees the window of the input that begins at (y * stride_down - pad_top,
// x * stride_right - pad_left); taps lie dilation_down and dilation_right apart.
struct spk_geometry {
    uint16_t height; // of the input, (height, width, channels)
    uint16_t width;
    uint16_t channels;
    uint16_t out_height; // (out_height, out_width, outputs)
    uint16_t out_width;
    uint16_t outputs;
    uint16_t kernel_height;
    uint16_t kernel_width;
    uint16_t stride_down;
    uint16_t stride_right;
    uint16_t dilation_down;
    uint16_t dilation_right;
    uint16_t pad_top;
    uint16_t pad_left;
};

#endif
