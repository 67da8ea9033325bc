// Two-dimensional int8 convolution. Golden twin: pytools/spikelet/graph/ops/conv2d.py.
// SPDX-License-Identifier: Apache-2.0
//
// The windows of a few neighbouring output pixels are copied into a scratch and widened (im2col of
// a few pixels). Convolution of any shape is then a product of matrices. One copy serves all output
// channels.
//
// Order of reads and writes, which the memory plan relies on. Outputs are written in order, in
// groups of pixels: 4 by spk_conv2d_four, 2 by _two, _any and _dsp_*, 1 by _mve and _stream_*. All
// windows of a group are read before the group is written. Exceptions: spk_conv2d_stream_*, and
// _mve with one row of taps, read the window of a pixel while they write that pixel. No variant
// goes back to input before the windows of the group that it is writing.
#ifndef SPK_CONV2D_H
#define SPK_CONV2D_H

#include "kernels/geometry.h"
#include "kernels/packed.h"
#include "kernels/requantise.h"
#if defined(__riscv_mul) && __riscv_xlen == 32 && !defined(__riscv_32e)
#include "kernels/arch/conv2d_rv32.h"
#endif
#if defined(__ARM_ARCH_ISA_THUMB) && __ARM_ARCH_ISA_THUMB == 1
#include "kernels/arch/conv2d_thumb1.h"
#endif
#if defined(__ARM_FEATURE_DSP)
#include "kernels/arch/conv2d_dsp.h"
#include "kernels/arch/packed_dsp.h"
#endif
#if defined(__ARM_FEATURE_MVE)
#include "kernels/arch/packed_mve.h"
#endif

struct spk_conv2d {
    const void *weights;    // in the order that the variant asks for
    const int8_t *padding;  // (channels,) the input's zero point, or 0 where nothing reaches out
    struct spk_rescale out; // (outputs,)
    const struct spk_scale *scales;
    struct spk_geometry geometry;
    uint16_t taps;  // kernel_height * kernel_width * channels, padded as the variant asks for
    bool pointwise; // one tap, every pixel of the input: output number i sees pixel i
    uint8_t run;    // blocks of 32 taps whose sums stay in 16 bits, for conv2d_tables.h
};

enum { SPK_MOST_PIXELS = 4 };

// The pixels whose windows are gathered together, in the order of the output.
struct spk_windows {
    int32_t top[SPK_MOST_PIXELS]; // of the window, in the input; negative above it
    int32_t left[SPK_MOST_PIXELS];
    bool inside; // all of them, with their taps side by side
};

// Windows of `pixels` outputs from (y, x) on; past the last output they repeat it.
SPK_INLINE void spk_conv2d_windows(const struct spk_conv2d *c, uint32_t pixels, uint32_t *y,
                                   uint32_t *x, struct spk_windows *w) {
    const int32_t most_top =
        c->geometry.height - (c->geometry.kernel_height - 1) * c->geometry.dilation_down - 1;
    const int32_t most_left = c->geometry.width - c->geometry.kernel_width;
    w->inside = c->geometry.dilation_right == 1 || c->geometry.kernel_width == 1;
    for (uint32_t p = 0; p < pixels; p++) {
        const int32_t top = (int32_t)(*y * c->geometry.stride_down) - c->geometry.pad_top;
        const int32_t left = (int32_t)(*x * c->geometry.stride_right) - c->geometry.pad_left;
        w->top[p] = top;
        w->left[p] = left;
        w->inside = w->inside && top >= 0 && top <= most_top && left >= 0 && left <= most_left;
        if (*x + 1 < c->geometry.out_width) {
            ++*x;
        } else if (*y + 1 < c->geometry.out_height) {
            *x = 0;
            ++*y;
        }
    }
}

// Two pixels share a word: code of the first + 2^16 * code of the second. A word times a weight,
// over two taps, is then the sums of both pixels in one word, each within -32512..32768. Adding the
// offset makes both halves positive, so that they can be split.
#define SPK_PAIR_OFFSET 0x7F807F80u

// words: (taps, pixels / 2), from tap `at` on; from: a run of `n` codes for each pixel.
SPK_INLINE void spk_conv2d_pack_pairs(uint32_t *words, uint32_t at, uint32_t pixels,
                                      const int8_t *const *from, uint32_t n) {
    const uint32_t pairs = pixels / 2;
    words += at * pairs;
    for (uint32_t p = 0; p < pairs; p++) {
        const int8_t *low = from[2 * p];
        const int8_t *high = from[2 * p + 1];
        uint32_t *to = words + p;
        uint32_t left = n;
        for (; left >= 4; left -= 4) {
            to[0] = (uint32_t)low[0] + ((uint32_t)high[0] << 16);
            to[pairs] = (uint32_t)low[1] + ((uint32_t)high[1] << 16);
            to[2 * pairs] = (uint32_t)low[2] + ((uint32_t)high[2] << 16);
            to[3 * pairs] = (uint32_t)low[3] + ((uint32_t)high[3] << 16);
            low += 4;
            high += 4;
            to += 4 * pairs;
        }
        for (; left > 0; left--) {
            *to = (uint32_t)*low++ + ((uint32_t)*high++ << 16);
            to += pairs;
        }
    }
}

// codes: (taps, 4 pixels), from tap `at` on.
SPK_INLINE void spk_conv2d_pack_fours(int8_t *codes, uint32_t at, const int8_t *const *from,
                                      uint32_t n) {
    for (uint32_t p = 0; p < 4; p++) {
        const int8_t *const next = from[p];
        int8_t *const to = codes + 4 * at + p;
        SPK_UNROLL(4)
        for (uint32_t i = 0; i < n; i++) {
            to[4 * i] = next[i];
        }
    }
}

// How the scratch holds what is gathered.
enum spk_packing { SPK_PAIRS, SPK_LANES, SPK_QUADS, SPK_PACKED_QUADS, SPK_BYTES, SPK_PIXELS };

SPK_INLINE void spk_conv2d_pack(enum spk_packing packing, uint32_t *scratch, uint32_t at,
                                uint32_t pixels, const int8_t *const *from, uint32_t n) {
#if defined(SPK_CONV2D_DSP_H)
    if (packing == SPK_LANES) {
        spk_conv2d_pack_lanes(scratch, at, from, n);
    }
    if (packing == SPK_QUADS) {
        spk_conv2d_pack_quads(scratch, at, from, n);
    }
    if (packing == SPK_PACKED_QUADS) { // for weights of less than 8 bits
        spk_packed_dsp_quads(scratch + at, from[0], from[1], n);
    }
#endif
#if defined(SPK_MVE_H)
    if (packing == SPK_BYTES) {
        spk_mve_copy((int8_t *)scratch + at, from[0], n);
    }
#endif
    if (packing == SPK_PIXELS) {
        spk_conv2d_pack_fours((int8_t *)scratch, at, from, n);
    }
    if (packing == SPK_PAIRS) {
        spk_conv2d_pack_pairs(scratch, at, pixels, from, n);
    }
}

SPK_INLINE void spk_conv2d_gather(const struct spk_conv2d *c, uint32_t pixels,
                                  const struct spk_windows *w, const int8_t *input,
                                  enum spk_packing packing, uint32_t *scratch) {
    const int8_t *from[SPK_MOST_PIXELS];
    uint32_t at = 0;
    for (uint32_t i = 0; i < c->geometry.kernel_height; i++) {
        const int32_t down = (int32_t)(i * c->geometry.dilation_down);
        for (uint32_t j = 0; j < (w->inside ? 1u : c->geometry.kernel_width); j++) {
            const int32_t right = (int32_t)(j * c->geometry.dilation_right);
            for (uint32_t p = 0; p < pixels; p++) {
                const int32_t y = w->top[p] + down;
                const int32_t x = w->left[p] + right;
                const bool there =
                    (uint32_t)y < c->geometry.height && (uint32_t)x < c->geometry.width;
                from[p] =
                    there ? input + (y * c->geometry.width + x) * c->geometry.channels : c->padding;
            }
            const uint32_t n = (w->inside ? c->geometry.kernel_width : 1u) * c->geometry.channels;
            spk_conv2d_pack(packing, scratch, at, pixels, from, n);
            at += n;
        }
    }
}

// Gathers what the outputs from number `at` on see; (y, x) is their place, and moves on.
SPK_INLINE void spk_conv2d_fetch(const struct spk_conv2d *c, uint32_t pixels, uint32_t at,
                                 uint32_t total, uint32_t *y, uint32_t *x, const int8_t *input,
                                 enum spk_packing packing, uint32_t *scratch) {
    if (c->pointwise) {
        const int8_t *from[SPK_MOST_PIXELS];
        for (uint32_t p = 0; p < pixels; p++) {
            from[p] = input + spk_min_u32(at + p, total - 1) * c->geometry.channels;
        }
        spk_conv2d_pack(packing, scratch, 0, pixels, from, c->geometry.channels);
        return;
    }
    struct spk_windows w;
    spk_conv2d_windows(c, pixels, y, x, &w);
    spk_conv2d_gather(c, pixels, &w, input, packing, scratch);
}

// Sums of four channels of `pairs` pairs of pixels, without bias, into the (4, pairs, 2) words at
// `end`: first the sum of the pair modulo 2^32, then that of its second pixel, which still contains
// the offset, once for every two taps.
// words: (taps, pairs), up to `end`; weights: (taps, 4), of which the bits in `mask` count.
SPK_INLINE void spk_conv2d_sums(const uint32_t *words, uint32_t pairs, const int8_t *weights,
                                int32_t mask, uint32_t *end) {
#if defined(SPK_CONV2D_RV32_H)
    spk_conv2d_sums_rv32(words, pairs, weights, mask, end);
    return;
#elif defined(SPK_CONV2D_THUMB1_H)
    if (mask == -1) { // the exporter asks for two pixels
        spk_conv2d_sums_thumb1(words, weights, end, end);
        spk_conv2d_sums_thumb1(words, weights + 2, end, end + 4);
        return;
    }
#endif
    uint32_t both[4][SPK_MOST_PIXELS / 2] = {{0}};
    uint32_t high[4][SPK_MOST_PIXELS / 2] = {{0}};
    do {
        for (uint32_t k = 0; k < 4; k++) {
            const uint32_t first = (uint32_t)(weights[k] & mask);
            const uint32_t second = (uint32_t)(weights[4 + k] & mask);
            for (uint32_t p = 0; p < pairs; p++) {
                const uint32_t sum = words[p] * first + words[pairs + p] * second;
                both[k][p] += sum;
                high[k][p] += (sum + SPK_PAIR_OFFSET) >> 16;
            }
        }
        words += 2 * pairs;
        weights += 8;
    } while (words < end);
    for (uint32_t k = 0; k < 4; k++) {
        for (uint32_t p = 0; p < pairs; p++) {
            *end++ = both[k][p];
            *end++ = high[k][p];
        }
    }
}

// Four channels of `pixels` outputs, from the sums. offsets: what `high` has too much.
SPK_INLINE void spk_conv2d_codes(const struct spk_rescale *out, uint32_t pixels, bool wide,
                                 const uint32_t *sums, uint32_t offsets, uint32_t channel,
                                 uint32_t channels, int8_t *const *to) {
    for (uint32_t k = 0; k < channels; k++, channel++) {
        const uint32_t bias = (uint32_t)out->bias[channel];
        const int32_t multiplier = spk_multiplier_of(out, wide, channel);
        const int32_t shift = spk_shift_of(out, wide, channel);
        const bool near = !wide || shift < 0;
        const uint32_t right = (uint32_t)-shift;
        int32_t offset = near ? spk_near_offset(right, out->zero_point - out->low) : 0;
        SPK_OPAQUE(offset); // one constant of a channel
        SPK_UNROLL(4)
        for (uint32_t p = 0; p < pixels; p += 2) {
            const uint32_t high = sums[1] - offsets;
            const int32_t first = (int32_t)(bias + sums[0] - (high << 16));
            const int32_t second = (int32_t)(bias + high);
            if (near) {
                const int32_t a = spk_requantise_offset(first, multiplier, right, offset);
                const int32_t b = spk_requantise_offset(second, multiplier, right, offset);
                to[p][channel] = (int8_t)spk_clamp_code(out, (uint32_t)a);
                to[p + 1][channel] = (int8_t)spk_clamp_code(out, (uint32_t)b);
            } else {
                to[p][channel] = spk_rescale(out, false, first, multiplier, shift - SPK_FAR);
                to[p + 1][channel] = spk_rescale(out, false, second, multiplier, shift - SPK_FAR);
            }
            sums += 2;
        }
    }
}

#if !defined(__ARM_FEATURE_DSP)
// One channel of `pixels` outputs. sums4: four times the sums without bias, modulo 2^32; of the
// sums themselves the exporter proves less than 2^29.
SPK_INLINE void spk_conv2d_channel(const struct spk_rescale *out, uint32_t pixels, bool wide,
                                   const uint32_t *sums4, uint32_t channel, int8_t *const *to) {
    const int32_t bias = out->bias[channel];
    const int32_t multiplier = spk_multiplier_of(out, wide, channel);
    const int32_t shift = spk_shift_of(out, wide, channel);
    const bool near = !wide || shift < 0;
    const uint32_t right = (uint32_t)-shift;
    int32_t offset = near ? spk_near_offset(right, out->zero_point - out->low) : 0;
    SPK_OPAQUE(offset); // one constant of a channel
    SPK_UNROLL(4)
    for (uint32_t p = 0; p < pixels; p++) {
        if (near) {
            const int32_t x4 = (int32_t)(4 * (uint32_t)bias + sums4[p]);
            const int32_t code = spk_requantise_quadruple(x4, multiplier, right, offset);
            to[p][channel] = (int8_t)spk_clamp_code(out, (uint32_t)code);
        } else {
            const int32_t x = bias + (int32_t)sums4[p] / 4;
            to[p][channel] = spk_rescale(out, false, x, multiplier, shift - SPK_FAR);
        }
    }
}
#endif

// The sums of four channels as their grid means them; inputs: (pairs, 2) sums of the inputs.
SPK_INLINE void spk_conv2d_regrid(struct spk_grid grid, uint32_t pairs, const uint32_t *inputs,
                                  uint32_t *sums) {
    for (uint32_t k = 0; k < 4; k++) {
        for (uint32_t i = 0; i < 2 * pairs; i++, sums++) {
            *sums = grid.factor * *sums + grid.inputs * inputs[i];
        }
    }
}

// pixels: 2 or 4 at a time. weights: (outputs / 4, taps, 4), taps even; of less than 8 bits
// (outputs / 4, words of fields, 4), taps by whole words.
// scratch: (taps, pixels / 2) and 4 * pixels words for the sums; and, of a packed or an odd grid,
// `pixels` words for those of the inputs.
SPK_INLINE void spk_conv2d_pairs(const struct spk_conv2d *c, uint32_t pixels, bool wide,
                                 uint32_t bits, bool odd, uint32_t upper, const int8_t *input,
                                 uint32_t *scratch, int8_t *output) {
    const uint32_t total = (uint32_t)c->geometry.out_height * c->geometry.out_width;
    const uint32_t outputs = c->geometry.outputs;
    const uint32_t taps = c->taps;
    const bool plain = bits == 8 && !odd;
    const struct spk_grid grid = spk_grid(bits, odd, upper);
    const uint32_t offsets = bits < 8 ? 0 : grid.factor * (taps / 2) * (SPK_PAIR_OFFSET >> 16);
    const struct spk_rescale out = c->out;
    uint32_t *const end = scratch + taps * (pixels / 2);
    uint32_t *const inputs = end + 4 * pixels;
    uint32_t y = 0;
    uint32_t x = 0;
    if (bits < 8) {
        uint32_t *at = end;
        for (uint32_t i = 0; i < (32 / bits - 1) * (pixels / 2) && at > scratch; i++) {
            *--at = 0; // the last taps may be there to fill a word
        }
    } else {
        for (uint32_t p = 0; p < pixels / 2; p++) {
            end[-1 - (int32_t)p] = 0; // the last tap may be there for evenness
        }
    }
    for (uint32_t at = 0; at < total; at += pixels) {
        int8_t *to[SPK_MOST_PIXELS];
        spk_conv2d_fetch(c, pixels, at, total, &y, &x, input, SPK_PAIRS, scratch);
        for (uint32_t p = 0; p < pixels; p++) {
            to[p] = output + spk_min_u32(at + p, total - 1) * outputs;
        }
        if (!plain) {
            spk_packed_inputs(scratch, pixels / 2, end, inputs);
        }
        const int8_t *weights = c->weights;
        for (uint32_t o = 0; o < outputs; o += 4) {
            if (bits < 8) {
                spk_packed_sums(scratch, pixels / 2, bits, (const uint32_t *)(const void *)weights,
                                end);
            } else {
                spk_conv2d_sums(scratch, pixels / 2, weights, spk_upper_mask(upper), end);
            }
            if (!plain) {
                spk_conv2d_regrid(grid, pixels / 2, inputs, end);
            }
            spk_conv2d_codes(&out, pixels, wide, end, offsets, o, spk_min_u32(4, outputs - o), to);
            weights += 4 * taps * bits / 8;
        }
    }
}

// The variants: spk_conv2d_PIXELS, of packed and odd grids with their bits; _wide where some
// channels are marked.
#define SPK_CONV2D_PAIRS(name, pixels, wide, bits, odd, upper)                                     \
    SPK_SHARED void spk_conv2d_##name(const struct spk_conv2d *c, const int8_t *input,             \
                                      uint32_t *scratch, int8_t *output) {                         \
        spk_conv2d_pairs(c, pixels, wide, bits, odd, upper, input, scratch, output);               \
    }
#define SPK_CONV2D_GRID(name, bits, odd, upper)                                                    \
    SPK_CONV2D_PAIRS(four##name, 4, false, bits, odd, upper)                                       \
    SPK_CONV2D_PAIRS(two##name, 2, false, bits, odd, upper)                                        \
    SPK_CONV2D_PAIRS(four##name##_wide, 4, true, bits, odd, upper)                                 \
    SPK_CONV2D_PAIRS(two##name##_wide, 2, true, bits, odd, upper)

SPK_CONV2D_GRID(, 8, false, 8)
SPK_CONV2D_GRID(_2, 2, false, 8)
SPK_CONV2D_GRID(_4, 4, false, 8)
SPK_CONV2D_GRID(_1_odd, 1, true, 8)
SPK_CONV2D_GRID(_2_odd, 2, true, 8)
SPK_CONV2D_GRID(_4_odd, 4, true, 8)
SPK_CONV2D_GRID(_8_odd, 8, true, 8)
SPK_CONV2D_GRID(_8_odd_upper4, 8, true, 4)
SPK_CONV2D_GRID(_8_odd_upper2, 8, true, 2)
SPK_CONV2D_GRID(_8_odd_upper1, 8, true, 1)

#if defined(SPK_CONV2D_DSP_H)
// weights: (outputs / 2, taps) int16; scratch: (taps / 4, 2 pixels, 4) int16; taps by eights.
SPK_INLINE int8_t spk_conv2d_dsp_code(const struct spk_conv2d *c, const struct spk_scale *s,
                                      bool wide, int32_t sum) {
    return wide ? spk_rescale_dsp_wide(&c->out, s, sum) : spk_rescale_dsp(s, sum * 2);
}

SPK_INLINE void spk_conv2d_dsp(const struct spk_conv2d *c, enum spk_packing packing, bool wide,
                               const int8_t *input, uint32_t *scratch, int8_t *output) {
    const uint32_t total = (uint32_t)c->geometry.out_height * c->geometry.out_width;
    const uint32_t outputs = c->geometry.outputs;
    const uint32_t taps = c->taps;
    uint32_t y = 0;
    uint32_t x = 0;
    for (uint32_t i = 1; i <= 8; i++) {
        scratch[taps - i] = 0; // the last taps may be there to fill up
    }
    for (uint32_t at = 0; at < total; at += 2) {
        spk_conv2d_fetch(c, 2, at, total, &y, &x, input, packing, scratch);
        int8_t *to = output + at * outputs;
        int8_t *next = at + 1 < total ? to + outputs : to;
        const uint32_t *weights = c->weights;
        const struct spk_scale *scale = c->scales;
        const int8_t *const end = to + outputs;
        do {
            const struct spk_dsp_sums sums = spk_conv2d_dsp_sums(scratch, weights, taps);
            weights += taps / 2;
            struct spk_scale s = spk_next_scale_dsp(&scale);
            *to++ = spk_conv2d_dsp_code(c, &s, wide, sums.low[0]);
            *next++ = spk_conv2d_dsp_code(c, &s, wide, sums.low[1]);
            if (to != end) {
                s = spk_next_scale_dsp(&scale);
                const int32_t first = sums.both[0] - sums.low[0];
                const int32_t second = sums.both[1] - sums.low[1];
                *to++ = wide ? spk_rescale_dsp_wide(&c->out, &s, first >> 8)
                             : spk_rescale_dsp(&s, first >> 7);
                *next++ = wide ? spk_rescale_dsp_wide(&c->out, &s, second >> 8)
                               : spk_rescale_dsp(&s, second >> 7);
            }
        } while (to != end);
    }
    spk_clamp_codes(&c->out, output, total * outputs);
}

#define SPK_CONV2D_DSP(name, packing, wide)                                                        \
    SPK_SHARED void spk_conv2d_dsp_##name(const struct spk_conv2d *c, const int8_t *input,         \
                                          uint32_t *scratch, int8_t *output) {                     \
        spk_conv2d_dsp(c, packing, wide, input, scratch, output);                                  \
    }

SPK_CONV2D_DSP(lanes, SPK_LANES, false)
SPK_CONV2D_DSP(lanes_wide, SPK_LANES, true)
// channels by fours; the taps of a quad in the order 0, 2, 1, 3
SPK_CONV2D_DSP(quads, SPK_QUADS, false)
SPK_CONV2D_DSP(quads_wide, SPK_QUADS, true)

#include "kernels/arch/conv2d_packed_dsp.h"
#endif

#if defined(SPK_MVE_H)
#include "kernels/arch/conv2d_mve.h"
#endif

// How the streaming variants hold weights, and add a run of taps of four channels.
enum spk_streaming { SPK_FOURS, SPK_DSP_QUADS, SPK_VECTORS };

// Adds `n` taps to the sums; answers the end of their weights.
SPK_INLINE const void *spk_conv2d_run(enum spk_streaming order, const int8_t *from, uint32_t n,
                                      const void *weights, int32_t *sum) {
#if defined(SPK_DSP_H)
    if (order == SPK_DSP_QUADS) {
        struct spk_dsp_four four = {{0, 0}, {0, 0}};
        weights = spk_dsp_run(&four, from, weights, n);
        sum[0] += four.low[0];
        sum[1] += (four.both[0] - four.low[0]) >> 8;
        sum[2] += four.low[1];
        sum[3] += (four.both[1] - four.low[1]) >> 8;
        return weights;
    }
#endif
#if defined(SPK_MVE_H)
    if (order == SPK_VECTORS) {
        vst1q_s32(sum, vaddq_s32(vld1q_s32(sum), spk_mve_dot(from, weights, n)));
        return (const int8_t *)weights + 4 * n;
    }
#endif
    const int8_t *w = weights;
    const int8_t *const end = from + n;
    int32_t a = sum[0];
    int32_t b = sum[1];
    int32_t c = sum[2];
    int32_t d = sum[3];
    (void)order;
    do {
        const int32_t x = *from++;
        a += w[0] * x;
        b += w[1] * x;
        c += w[2] * x;
        d += w[3] * x;
        w += 4;
    } while (from != end);
    sum[0] = a;
    sum[1] = b;
    sum[2] = c;
    sum[3] = d;
    return w;
}

// Without scratch, for windows that are too large for one: any scale.
SPK_INLINE void spk_conv2d_stream(const struct spk_conv2d *c, enum spk_streaming order,
                                  const int8_t *input, int8_t *output) {
    const struct spk_rescale out = c->out;
    uint32_t y = 0;
    uint32_t x = 0;
    for (uint32_t at = 0; at < (uint32_t)c->geometry.out_height * c->geometry.out_width; at++) {
        struct spk_windows w;
        const void *weights = c->weights;
        spk_conv2d_windows(c, 1, &y, &x, &w);
        const uint32_t n = (w.inside ? c->geometry.kernel_width : 1u) * c->geometry.channels;
        for (uint32_t o = 0; o < c->geometry.outputs; o += 4) {
            int32_t sum[4] = {0};
            for (uint32_t i = 0; i < c->geometry.kernel_height; i++) {
                const int32_t down = w.top[0] + (int32_t)(i * c->geometry.dilation_down);
                for (uint32_t j = 0; j < (w.inside ? 1u : c->geometry.kernel_width); j++) {
                    const int32_t right = w.left[0] + (int32_t)(j * c->geometry.dilation_right);
                    const bool there =
                        (uint32_t)down < c->geometry.height && (uint32_t)right < c->geometry.width;
                    const int8_t *from =
                        there ? input + (down * c->geometry.width + right) * c->geometry.channels
                              : c->padding;
                    weights = spk_conv2d_run(order, from, n, weights, sum);
                }
            }
            for (uint32_t k = 0; k < 4 && o + k < c->geometry.outputs; k++) {
                *output++ = spk_rescale(&out, false, sum[k] + out.bias[o + k],
                                        spk_multiplier_of(&out, true, o + k),
                                        spk_shift_of(&out, true, o + k));
            }
        }
    }
}

// weights: (outputs / 4, taps, 4).
SPK_SHARED void spk_conv2d_stream_fours(const struct spk_conv2d *c, const int8_t *input,
                                        int8_t *output) {
    spk_conv2d_stream(c, SPK_FOURS, input, output);
}

#if defined(SPK_DSP_H)
// Channels by eights. weights: (outputs / 4, taps / 4, 2, 2) words, as spk_dsp_run asks for.
SPK_SHARED void spk_conv2d_stream_quads(const struct spk_conv2d *c, const int8_t *input,
                                        int8_t *output) {
    spk_conv2d_stream(c, SPK_DSP_QUADS, input, output);
}
#endif

#if defined(SPK_MVE_H)
// Channels by sixteens. weights: (outputs / 4, taps / 16, 4, 16).
SPK_SHARED void spk_conv2d_stream_vectors(const struct spk_conv2d *c, const int8_t *input,
                                          int8_t *output) {
    spk_conv2d_stream(c, SPK_VECTORS, input, output);
}
#endif

#endif
