// Part of conv2d.h, which includes it: weights of less than 8 bits on cores with Arm's DSP
// extension.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_CONV2D_PACKED_DSP_H
#define SPK_CONV2D_PACKED_DSP_H

#include "kernels/arch/packed_dsp.h"

// weights: (outputs / 4, 2, words), as arch/packed_dsp.h tells; scratch: (taps / 4, 2 pixels, 4)
// int16; taps by sixteens.
SPK_INLINE void spk_conv2d_packed_dsp(const struct spk_conv2d *c, enum spk_packing packing,
                                      bool wide, uint32_t bits, bool odd, uint32_t upper,
                                      const int8_t *input, uint32_t *scratch, int8_t *output) {
    const uint32_t total = (uint32_t)c->geometry.out_height * c->geometry.out_width;
    const uint32_t outputs = c->geometry.outputs;
    const uint32_t *const end = scratch + c->taps;
    const struct spk_grid grid = spk_grid(bits, odd, upper);
    uint32_t y = 0;
    uint32_t x = 0;
    for (uint32_t i = 1; i <= SPK_PACKED_BLOCK; i++) {
        scratch[c->taps - i] = 0; // the last taps may be there to fill up
    }
    for (uint32_t at = 0; at < total; at += 2) {
        spk_conv2d_fetch(c, 2, at, total, &y, &x, input, packing, scratch);
        int8_t *to = output + at * outputs;
        int8_t *next = at + 1 < total ? to + outputs : to;
        const uint32_t *weights = c->weights;
        const struct spk_scale *scale = c->scales;
        const int8_t *const last = to + outputs;
        int32_t low[2];
        spk_packed_dsp_inputs(scratch, end, low);
        // A high field of 1 or 2 bits is not raised; of 8 bits only the low field is.
        const int32_t more = bits >= 4 ? (int32_t)grid.inputs : odd;
        const int32_t high[2] = {low[0] * more, low[1] * more};
        low[0] *= (int32_t)grid.inputs - (bits == 8 ? 256 : 0);
        low[1] *= (int32_t)grid.inputs - (bits == 8 ? 256 : 0);
        do {
            struct spk_packed_two sums;
            weights = spk_packed_dsp_sums(bits, upper, scratch, end, weights, &sums);
            struct spk_scale s = spk_next_scale_dsp(&scale);
            *to++ = spk_conv2d_dsp_code(c, &s, wide, spk_packed_whole(grid, sums.low[0], low[0]));
            *next++ = spk_conv2d_dsp_code(c, &s, wide, spk_packed_whole(grid, sums.low[1], low[1]));
            if (to != last) {
                s = spk_next_scale_dsp(&scale);
                *to++ =
                    spk_conv2d_dsp_code(c, &s, wide, spk_packed_whole(grid, sums.high[0], high[0]));
                *next++ =
                    spk_conv2d_dsp_code(c, &s, wide, spk_packed_whole(grid, sums.high[1], high[1]));
            }
        } while (to != last);
    }
    spk_clamp_codes(&c->out, output, total * outputs);
}

#define SPK_CONV2D_PACKED_DSP(name, packing, wide, bits, odd, upper)                               \
    SPK_SHARED void spk_conv2d_dsp_##name(const struct spk_conv2d *c, const int8_t *input,         \
                                          uint32_t *scratch, int8_t *output) {                     \
        spk_conv2d_packed_dsp(c, packing, wide, bits, odd, upper, input, scratch, output);         \
    }
#define SPK_CONV2D_PACKED_DSP_GRID(name, bits, odd, upper)                                         \
    SPK_CONV2D_PACKED_DSP(lanes##name, SPK_LANES, false, bits, odd, upper)                         \
    SPK_CONV2D_PACKED_DSP(quads##name, SPK_PACKED_QUADS, false, bits, odd, upper)                  \
    SPK_CONV2D_PACKED_DSP(lanes##name##_wide, SPK_LANES, true, bits, odd, upper)                   \
    SPK_CONV2D_PACKED_DSP(quads##name##_wide, SPK_PACKED_QUADS, true, bits, odd, upper)

SPK_CONV2D_PACKED_DSP_GRID(_2, 2, false, 8)
SPK_CONV2D_PACKED_DSP_GRID(_4, 4, false, 8)
SPK_CONV2D_PACKED_DSP_GRID(_1_odd, 1, true, 8)
SPK_CONV2D_PACKED_DSP_GRID(_2_odd, 2, true, 8)
SPK_CONV2D_PACKED_DSP_GRID(_4_odd, 4, true, 8)
SPK_CONV2D_PACKED_DSP_GRID(_8_odd, 8, true, 8)
SPK_CONV2D_PACKED_DSP_GRID(_8_odd_upper4, 8, true, 4)
SPK_CONV2D_PACKED_DSP_GRID(_8_odd_upper2, 8, true, 2)
SPK_CONV2D_PACKED_DSP_GRID(_8_odd_upper1, 8, true, 1)

#endif
