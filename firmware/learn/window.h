// Windows over an image: which taps meet which pixels. Shared by convolutions and pools that learn.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LEARN_WINDOW_H
#define SPK_LEARN_WINDOW_H

#include "kernels/fixed.h"

// Images are (height, width, channels); a pixel of the output sees the window of the input that
// begins at (y * stride_down - pad_top, x * stride_right - pad_left). Taps outside of the input are
// left out, they are never multiplied.
struct spk_window {
    int32_t height, width;
    int32_t channels; // of the input
    int32_t out_height, out_width;
    int32_t kernel_height, kernel_width;
    int32_t stride_down, stride_right;
    int32_t pad_top, pad_left;
};

// Along one axis: `count` steps from a first one, and where in the other image it lies.
struct spk_reach {
    int32_t first, count, source;
};

// Taps that output `at` sees: tap first + k reads input source + k.
SPK_INLINE struct spk_reach spk_reach_output(int32_t at, int32_t stride, int32_t pad,
                                             int32_t kernel, int32_t size) {
    const int32_t start = at * stride - pad;
    const int32_t first = start < 0 ? -start : 0;
    const int32_t end = size - start < kernel ? size - start : kernel;
    return (struct spk_reach){first, end > first ? end - first : 0, start + first};
}

// Taps by which input `at` is seen: tap first + k * stride is that of output source - k.
SPK_INLINE struct spk_reach spk_reach_input(int32_t at, int32_t stride, int32_t pad, int32_t kernel,
                                            int32_t out) {
    const int32_t whole = stride == 1 ? at + pad : (at + pad) / stride;
    const int32_t rest = at + pad - whole * stride;
    const int32_t low = whole >= out ? whole - out + 1 : 0;
    const int32_t above = kernel - rest + stride - 1;
    const int32_t taps = rest >= kernel ? 0 : stride == 1 ? above : above / stride;
    const int32_t end = taps < whole + 1 ? taps : whole + 1;
    return (struct spk_reach){rest + stride * low, end > low ? end - low : 0, whole - low};
}

// Outputs that see an input through `tap`: output first + k reads input source + k * stride.
SPK_INLINE struct spk_reach spk_reach_tap(int32_t tap, int32_t stride, int32_t pad, int32_t size,
                                          int32_t out) {
    const int32_t first = tap < pad ? (pad - tap + stride - 1) / stride : 0;
    const int32_t room = size - 1 + pad - tap;
    const int32_t end = room < 0 ? 0 : room / stride + 1 < out ? room / stride + 1 : out;
    return (struct spk_reach){first, end > first ? end - first : 0, first * stride + tap - pad};
}

SPK_INLINE bool spk_reach_same(struct spk_reach a, struct spk_reach b) {
    return a.first == b.first && a.count == b.count;
}

#endif
