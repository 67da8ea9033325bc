// Part of conv2d.h, which includes it: cores with the M-profile vector extension.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_CONV2D_MVE_H
#define SPK_CONV2D_MVE_H

#include "kernels/arch/packed_mve.h"

// weights: as spk_mve_outputs asks for, of less than 8 bits spk_packed_mve_outputs; scratch:
// (taps,) int8. vectors: that hold all taps, or 0.
SPK_INLINE void spk_conv2d_vectors(const struct spk_conv2d *of, uint32_t vectors, bool wide,
                                   uint32_t bits, bool odd, uint32_t upper, const int8_t *input,
                                   uint32_t *scratch, int8_t *output) {
    const struct spk_conv2d copy = *of; // the compiler sees that no output changes it
    const struct spk_conv2d *c = &copy;
    const struct spk_rescale out = c->out;
    const uint32_t n = (uint32_t)c->geometry.kernel_width * c->geometry.channels;
    const uint32_t pitch =
        (uint32_t)c->geometry.width * c->geometry.channels * c->geometry.dilation_down;
    const int32_t depth = (c->geometry.kernel_height - 1) * c->geometry.dilation_down;
    const bool side_by_side = c->geometry.dilation_right == 1 || c->geometry.kernel_width == 1;
    struct spk_windows w;
    int8_t *const first = output;
    for (uint32_t y = 0; y < c->geometry.out_height; y++) {
        w.top[0] = (int32_t)(y * c->geometry.stride_down) - c->geometry.pad_top;
        const bool rows = side_by_side && w.top[0] >= 0 && w.top[0] + depth < c->geometry.height;
        w.left[0] = -c->geometry.pad_left;
        for (uint32_t x = 0; x < c->geometry.out_width; x++) {
            const int8_t *from = (const int8_t *)scratch;
            w.inside =
                rows && w.left[0] >= 0 && w.left[0] + c->geometry.kernel_width <= c->geometry.width;
            if (w.inside) {
                const int8_t *row =
                    input + (w.top[0] * c->geometry.width + w.left[0]) * c->geometry.channels;
                if (c->geometry.kernel_height == 1) {
                    from = row;
                } else {
                    int8_t *to = (int8_t *)scratch;
                    const int8_t *const end = to + c->taps;
                    do {
                        spk_mve_copy(to, row, n);
                        row += pitch;
                        to += n;
                    } while (to != end);
                }
            } else {
                spk_conv2d_gather(c, 1, &w, input, SPK_BYTES, scratch);
            }
            if (bits < 8 && vectors > 0) {
                spk_packed_mve_64_outputs(&out, wide, odd, from, c->weights, c->taps,
                                          c->geometry.outputs, output);
            } else if (bits < 8 || odd) {
                spk_packed_mve_outputs(&out, wide, bits, odd, upper, from, c->weights, c->taps,
                                       c->geometry.outputs, output);
            } else {
                spk_mve_outputs(&out, wide, from, vectors, c->weights, c->taps, c->geometry.outputs,
                                output);
            }
            output += c->geometry.outputs;
            w.left[0] += c->geometry.stride_right;
        }
    }
    if (bits < 8 && vectors > 0) {
        spk_clamp_codes(&out, first, (uint32_t)(output - first));
    }
}

#define SPK_CONV2D_MVE(name, vectors, wide, bits, odd, upper)                                      \
    SPK_SHARED void spk_conv2d_mve##name(const struct spk_conv2d *c, const int8_t *input,          \
                                         uint32_t *scratch, int8_t *output) {                      \
        spk_conv2d_vectors(c, vectors, wide, bits, odd, upper, input, scratch, output);            \
    }
#define SPK_CONV2D_MVE_GRID(name, vectors, bits, odd, upper)                                       \
    SPK_CONV2D_MVE(name, vectors, false, bits, odd, upper)                                         \
    SPK_CONV2D_MVE(name##_wide, vectors, true, bits, odd, upper)

SPK_CONV2D_MVE_GRID(, 0, 8, false, 8)
// Up to 16, 32 and 48 taps.
SPK_CONV2D_MVE_GRID(_16, 1, 8, false, 8)
SPK_CONV2D_MVE_GRID(_32, 2, 8, false, 8)
SPK_CONV2D_MVE_GRID(_48, 3, 8, false, 8)
SPK_CONV2D_MVE_GRID(_1_odd, 0, 1, true, 8)
SPK_CONV2D_MVE_GRID(_2, 0, 2, false, 8)
SPK_CONV2D_MVE_GRID(_2_odd, 0, 2, true, 8)
SPK_CONV2D_MVE_GRID(_4, 0, 4, false, 8)
SPK_CONV2D_MVE_GRID(_4_odd, 0, 4, true, 8)
SPK_CONV2D_MVE_GRID(_8_odd, 0, 8, true, 8)
SPK_CONV2D_MVE_GRID(_8_odd_upper4, 0, 8, true, 4)
SPK_CONV2D_MVE_GRID(_8_odd_upper2, 0, 8, true, 2)
SPK_CONV2D_MVE_GRID(_8_odd_upper1, 0, 8, true, 1)
// Up to 64 taps.
SPK_CONV2D_MVE_GRID(_64_4, 4, 4, false, 8)
SPK_CONV2D_MVE_GRID(_64_4_odd, 4, 4, true, 8)

#endif
