// Two-dimensional convolution with weights of 4 bits. Golden twin:
// pytools/spikelet/graph/ops/conv2d.py.
// SPDX-License-Identifier: Apache-2.0
//
// The halves of a word hold the weights of a tap of two channels, so that one multiplication serves
// both; four pixels share the weights. Fields are raised by 8, as packed.h says: a sum begins with
// what that adds, so that it fits 16 bits for 32 taps, and is then split. It begins 128 below, too:
// it would lie in -32512 to 32768.
//
// Order of reads and writes: as spk_conv2d_four.
#ifndef SPK_CONV2D_LANES_H
#define SPK_CONV2D_LANES_H

#include "kernels/conv2d.h"
#include "kernels/pairs.h"

// Adds the taps from `from` up to `end`, 4 to SPK_PAIR_RUN, to (4 pairs of channels, 4 pixels, 2)
// sums: that of the pair modulo 2^32, and that of the second channel. sums[33]: they are the first.
// from: (taps, 4 pixels); by: (taps,) words; starts: (4 pixels,) spk_pair_start.
#if defined(SPK_CONV2D_RV32_H)
#include "kernels/arch/conv2d_lanes_rv32.h"
#else
SPK_INLINE void spk_lanes_run(const int8_t *from, const int8_t *end, const uint32_t *by,
                              const uint32_t *starts, uint32_t *sums) {
    uint32_t part[16];
    for (uint32_t i = 0; i < 16; i++) {
        part[i] = starts[i % 4];
    }
    for (; from != end; from += 4, by++) {
        for (uint32_t i = 0; i < 16; i++) {
            part[i] += (uint32_t)from[i % 4] * spk_pair(*by, i / 4);
        }
    }
    for (uint32_t i = 0; i < 16; i++) {
        sums[2 * i] = part[i] + (sums[33] ? 0 : sums[2 * i]);
        sums[2 * i + 1] = spk_pair_high(part[i]) + (sums[33] ? 0 : sums[2 * i + 1]);
    }
}
#endif

// Codes of a channel of 4 pixels, `second` of its pair. sums: of the pair, (4 pixels, 2); inputs4:
// (4,) four times what is to be added to all sums of a pixel.
SPK_INLINE void spk_lanes_code(const struct spk_rescale *out, bool wide, bool odd, bool second,
                               const uint32_t *sums, const uint32_t *inputs4, uint32_t channel,
                               int8_t *const *to) {
    uint32_t sums4[4];
    SPK_UNROLL(4)
    for (uint32_t p = 0; p < 4; p++) {
        const uint32_t high = sums[2 * p + 1];
        const uint32_t sum = second ? high : sums[2 * p] - (high << 16);
        sums4[p] = (odd ? 8 : 4) * sum + inputs4[p];
    }
    spk_conv2d_channel(out, 4, wide, sums4, channel, to);
}

SPK_INLINE void spk_lanes_sums(const int8_t *from, const int8_t *end, const uint32_t *by,
                               const uint32_t *starts, uint32_t *sums) {
    sums[33] = 1;
    do {
        const int8_t *const last = end - from > 4 * SPK_PAIR_RUN ? from + 4 * SPK_PAIR_RUN : end;
        spk_lanes_run(from, last, by, starts, sums);
        sums[33] = 0;
        from = last;
        by += SPK_PAIR_RUN;
        starts += 4;
    } while (from != end);
}

// How the sums of all runs of taps begin, (runs, 4 pixels), and four times what is to be added to
// them in the end. from: (taps, 4 pixels).
SPK_SHARED void spk_lanes_begin(const int8_t *from, const int8_t *end, bool odd, uint32_t *starts,
                                uint32_t *inputs4) {
    inputs4[0] = inputs4[1] = inputs4[2] = inputs4[3] = 0;
    do {
        const int8_t *const last = end - from > 4 * SPK_PAIR_RUN ? from + 4 * SPK_PAIR_RUN : end;
        int32_t seen[4] = {0, 0, 0, 0};
        SPK_UNROLL(4)
        for (; from != last; from += 4) {
            seen[0] += from[0];
            seen[1] += from[1];
            seen[2] += from[2];
            seen[3] += from[3];
        }
        for (uint32_t p = 0; p < 4; p++) {
            *starts++ = spk_pair_start(seen[p]);
            inputs4[p] += 4 * spk_pair_inputs(odd, seen[p]);
        }
    } while (from != end);
}

// weights: (outputs / 8, taps) words, see pairs.h; taps by fours.
// scratch: (taps, 4 pixels) codes, then 34 words for the sums, and (taps / 32 rounded up, 4).
SPK_INLINE void spk_conv2d_lanes(const struct spk_conv2d *c, bool wide, bool odd,
                                 const int8_t *input, uint32_t *scratch, int8_t *output) {
    const uint32_t total = (uint32_t)c->geometry.out_height * c->geometry.out_width;
    const uint32_t outputs = c->geometry.outputs;
    const struct spk_rescale out = c->out;
    uint32_t *const sums = scratch + c->taps;
    uint32_t *const starts = sums + 34;
    const int8_t *const codes = (const int8_t *)scratch;
    const int8_t *const end = (const int8_t *)sums;
    uint32_t y = 0;
    uint32_t x = 0;
    for (uint32_t i = 1; i < 4 && i <= c->taps; i++) {
        sums[-(int32_t)i] = 0; // the last taps may be there to fill up
    }
    for (uint32_t at = 0; at < total; at += 4) {
        int8_t *to[SPK_MOST_PIXELS];
        uint32_t inputs4[SPK_MOST_PIXELS];
        spk_conv2d_fetch(c, 4, at, total, &y, &x, input, SPK_PIXELS, scratch);
        spk_lanes_begin(codes, end, odd, starts, inputs4);
        for (uint32_t p = 0; p < 4; p++) {
            to[p] = output + spk_min_u32(at + p, total - 1) * outputs;
        }
        const uint32_t *weights = c->weights;
        for (uint32_t o = 0; o < outputs; o += 8) {
            spk_lanes_sums(codes, end, weights, starts, sums);
            const uint32_t last = spk_min_u32(o + 8, outputs);
            const uint32_t *of = sums;
            for (uint32_t k = o; k < last; k += 2, of += 8) {
                spk_lanes_code(&out, wide, odd, false, of, inputs4, k, to);
                if (k + 1 < last) {
                    spk_lanes_code(&out, wide, odd, true, of, inputs4, k + 1, to);
                }
            }
            weights += c->taps;
        }
    }
}

// The variants: _wide where some channels are marked.
#define SPK_CONV2D_LANES(name, wide, odd)                                                          \
    SPK_SHARED void spk_conv2d_lanes_##name(const struct spk_conv2d *c, const int8_t *input,       \
                                            uint32_t *scratch, int8_t *output) {                   \
        spk_conv2d_lanes(c, wide, odd, input, scratch, output);                                    \
    }

SPK_CONV2D_LANES(4, false, false)
SPK_CONV2D_LANES(4_odd, false, true)
SPK_CONV2D_LANES(4_wide, true, false)
SPK_CONV2D_LANES(4_odd_wide, true, true)

#endif
