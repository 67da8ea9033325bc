// Two-dimensional convolution by tables, for weights of 4 and 8 bits on cores without a multiplier:
// additions only. Golden twin: pytools/spikelet/graph/ops/conv2d.py.
// SPDX-License-Identifier: Apache-2.0
//
// As conv2d_tables.h: the bits of weights are planes, the upper one first, and four bits choose one
// of the 16 sums of four taps, of two pixels. Two planes stay within 16 bits for a block of 32
// taps; then the pixels' sums are taken apart.
//
// Order of reads and writes: as spk_conv2d_two.
#ifndef SPK_CONV2D_PLANES_H
#define SPK_CONV2D_PLANES_H

#include "kernels/conv2d_tables.h"

// Adds a block to the sums of all channels. weights: (outputs, bits) words, of which `upper` planes
// count, one or an even number; table: (8, 16) words; sums: (outputs, 2) as of spk_packed_sums.
SPK_SHARED const uint32_t *spk_planes_add(const uint32_t *weights, uint32_t bits, uint32_t upper,
                                          uint32_t outputs, const uint32_t *table, uint32_t *sums) {
    uint32_t *const end = sums + 2 * outputs;
    do {
        const uint32_t *word = weights;
        uint32_t both = 0;
        uint32_t high = 0;
        uint32_t left = upper;
        do {
            uint32_t lane[2] = {0, 0};
            spk_tables_add(word++, 1, table, lane);
            if (left > 1) {
                lane[0] *= 2;
                spk_tables_add(word++, 1, table, lane);
            }
            both = 4 * both + lane[0];
            high = 4 * high + (uint32_t)((int32_t)(lane[0] + 0x8000u) >> 16);
            left = left > 1 ? left - 2 : 0;
        } while (left > 0);
        sums[0] += both;
        sums[1] += high;
        sums += 2;
        weights += bits;
    } while (sums != end);
    return weights;
}

// Codes of two outputs from the sums; inputs: (2,) sums of the inputs.
SPK_INLINE void spk_planes_codes(const struct spk_rescale *out, uint32_t outputs, bool wide,
                                 struct spk_grid grid, const uint32_t *inputs, uint32_t *sums,
                                 int8_t *const *to) {
    const uint32_t first = grid.inputs * (inputs[0] + (inputs[1] << 16));
    const uint32_t second = grid.inputs * inputs[1];
    for (uint32_t o = 0; o < outputs; o++, sums += 2) {
        sums[0] = grid.factor * sums[0] + first;
        sums[1] = grid.factor * sums[1] + second;
        spk_conv2d_codes(out, 2, wide, sums, 0, o, 1, to);
    }
}

// weights: (blocks of 32 taps, outputs, bits) words. scratch: (32,) taps, (8, 16) a table,
// (outputs, 2) sums and (2,) of the inputs.
SPK_INLINE void spk_conv2d_planes(const struct spk_conv2d *of, bool wide, uint32_t bits, bool odd,
                                  uint32_t upper, const int8_t *input, uint32_t *scratch,
                                  int8_t *output) {
    const struct spk_conv2d copy = *of; // the compiler sees that no output changes it
    const struct spk_conv2d *c = &copy;
    const uint32_t total = (uint32_t)c->geometry.out_height * c->geometry.out_width;
    const uint32_t outputs = c->geometry.outputs;
    const struct spk_grid grid = spk_planes_grid(bits, odd, upper);
    uint32_t *const table = scratch + SPK_BLOCK;
    uint32_t *const sums = scratch + SPK_BLOCK * 5;
    uint32_t *const inputs = sums + 2 * outputs;
    uint32_t y = 0;
    uint32_t x = 0;
    for (uint32_t at = 0; at < total; at += 2) {
        const uint32_t *weights = c->weights;
        struct spk_cursor cursor = {0, 0, 0};
        struct spk_windows w;
        spk_conv2d_windows(c, 2, &y, &x, &w);
        for (uint32_t i = 0; i < 2 * (outputs + 1); i++) {
            sums[i] = 0;
            SPK_IN_ORDER(); // no call of memset
        }
        for (uint32_t tap = 0; tap < c->taps; tap += SPK_BLOCK) {
            spk_tables_fill_two(c, &w, &cursor, spk_min_u32(SPK_BLOCK, c->taps - tap), input,
                                scratch, inputs);
            weights = spk_planes_add(weights, bits, spk_min_u32(bits, upper), outputs, table, sums);
        }
        int8_t *const first = output + at * outputs;
        int8_t *const to[2] = {first, at + 1 < total ? first + outputs : first};
        spk_planes_codes(&c->out, outputs, wide, grid, inputs, sums, to);
    }
}

// The variants: spk_conv2d_planes_BITS, with the grid; _wide where some channels are marked.
#define SPK_CONV2D_PLANES_OF(name, wide, bits, odd, upper)                                         \
    SPK_SHARED void spk_conv2d_planes_##name(const struct spk_conv2d *c, const int8_t *input,      \
                                             uint32_t *scratch, int8_t *output) {                  \
        spk_conv2d_planes(c, wide, bits, odd, upper, input, scratch, output);                      \
    }
#define SPK_CONV2D_PLANES(name, bits, odd, upper)                                                  \
    SPK_CONV2D_PLANES_OF(name, false, bits, odd, upper)                                            \
    SPK_CONV2D_PLANES_OF(name##_wide, true, bits, odd, upper)

SPK_CONV2D_PLANES(4, 4, false, 8)
SPK_CONV2D_PLANES(4_odd, 4, true, 8)
SPK_CONV2D_PLANES(8, 8, false, 8)
SPK_CONV2D_PLANES(8_odd, 8, true, 8)
SPK_CONV2D_PLANES(8_odd_upper4, 8, true, 4)
SPK_CONV2D_PLANES(8_odd_upper2, 8, true, 2)
SPK_CONV2D_PLANES(8_odd_upper1, 8, true, 1)

#endif
