// Two-dimensional int8 convolution. Golden twin: pytools/spikelet/graph/ops/conv2d.py.
// SPDX-License-Identifier: Apache-2.0
//
// What a few neighbouring outputs see is gathered, widened, into a scratch on the stack; there a
// convolution of any shape is a product of matrices. The scratch is made once for all channels.
#ifndef SPK_CONV2D_H
#define SPK_CONV2D_H

#include "kernels/requantise.h"
#if defined(__riscv_mul) && __riscv_xlen == 32
#include "kernels/arch/conv2d_rv32.h"
#endif
#if defined(__ARM_FEATURE_DSP)
#include "kernels/arch/conv2d_dsp.h"
#endif
#if defined(__ARM_FEATURE_MVE)
#include "kernels/arch/mve.h"
#endif

struct spk_conv2d {
    const void *weights;    // in the order that the variant asks for
    const int8_t *padding;  // (channels,) the input's zero point, or 0 where nothing reaches out
    struct spk_rescale out; // (outputs,)
    const struct spk_scale *scales;
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
    uint16_t taps; // kernel_height * kernel_width * channels, padded as the variant asks for
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
    const int32_t most_top = c->height - (c->kernel_height - 1) * c->dilation_down - 1;
    const int32_t most_left = c->width - c->kernel_width;
    w->inside = c->dilation_right == 1 || c->kernel_width == 1;
    for (uint32_t p = 0; p < pixels; p++) {
        const int32_t top = (int32_t)(*y * c->stride_down) - c->pad_top;
        const int32_t left = (int32_t)(*x * c->stride_right) - c->pad_left;
        w->top[p] = top;
        w->left[p] = left;
        w->inside = w->inside && top >= 0 && top <= most_top && left >= 0 && left <= most_left;
        if (*x + 1 < c->out_width) {
            ++*x;
        } else if (*y + 1 < c->out_height) {
            *x = 0;
            ++*y;
        }
    }
}

// Two pixels share a word: code + 2^16 * code of the next one. The sum of two products of a word
// and a weight then holds the sums of both pixels, each within -32512..32768; the offset makes
// them positive, so that they come apart.
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

// How the scratch holds what is gathered.
enum spk_packing { SPK_PAIRS, SPK_LANES, SPK_QUADS, SPK_BYTES };

SPK_INLINE void spk_conv2d_pack(enum spk_packing packing, uint32_t *scratch, uint32_t at,
                                uint32_t pixels, const int8_t *const *from, uint32_t n) {
#if defined(SPK_CONV2D_DSP_H)
    if (packing == SPK_LANES) {
        spk_conv2d_pack_lanes(scratch, at, from, n);
    }
    if (packing == SPK_QUADS) {
        spk_conv2d_pack_quads(scratch, at, from, n);
    }
#endif
#if defined(SPK_MVE_H)
    if (packing == SPK_BYTES) {
        spk_mve_copy((int8_t *)scratch + at, from[0], n);
    }
#endif
    if (packing == SPK_PAIRS) {
        spk_conv2d_pack_pairs(scratch, at, pixels, from, n);
    }
}

SPK_INLINE void spk_conv2d_gather(const struct spk_conv2d *c, uint32_t pixels,
                                  const struct spk_windows *w, const int8_t *input,
                                  enum spk_packing packing, uint32_t *scratch) {
    const int8_t *from[SPK_MOST_PIXELS];
    uint32_t at = 0;
    for (uint32_t i = 0; i < c->kernel_height; i++) {
        const int32_t down = (int32_t)(i * c->dilation_down);
        for (uint32_t j = 0; j < (w->inside ? 1u : c->kernel_width); j++) {
            const int32_t right = (int32_t)(j * c->dilation_right);
            for (uint32_t p = 0; p < pixels; p++) {
                const int32_t y = w->top[p] + down;
                const int32_t x = w->left[p] + right;
                const bool there = (uint32_t)y < c->height && (uint32_t)x < c->width;
                from[p] = there ? input + (y * c->width + x) * c->channels : c->padding;
            }
            const uint32_t n = (w->inside ? c->kernel_width : 1u) * c->channels;
            spk_conv2d_pack(packing, scratch, at, pixels, from, n);
            at += n;
        }
    }
}

// Sums of four channels of `pairs` pairs of pixels, without bias, into the (4, pairs, 2) words at
// `end`: of a pair modulo 2^32, and of its second pixel with the offset of every two taps.
// words: (taps, pairs), up to `end`; weights: (taps, 4).
SPK_INLINE void spk_conv2d_sums(const uint32_t *words, uint32_t pairs, const int8_t *weights,
                                uint32_t *end) {
#if defined(__riscv_mul) && __riscv_xlen == 32
    if (pairs == 2) {
        spk_conv2d_sums_four(words, weights, end);
    } else {
        spk_conv2d_sums_two(words, weights, end);
    }
#else
    uint32_t both[4][SPK_MOST_PIXELS / 2] = {{0}};
    uint32_t high[4][SPK_MOST_PIXELS / 2] = {{0}};
    do {
        for (uint32_t k = 0; k < 4; k++) {
            const uint32_t first = (uint32_t)weights[k];
            const uint32_t second = (uint32_t)weights[4 + k];
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
#endif
}

// Four channels of `pixels` outputs, from the sums. offsets: what `high` has too much.
SPK_INLINE void spk_conv2d_codes(const struct spk_rescale *out, uint32_t pixels, bool near,
                                 const uint32_t *sums, uint32_t offsets, uint32_t channel,
                                 uint32_t channels, int8_t *const *to) {
    for (uint32_t k = 0; k < channels; k++, channel++) {
        const uint32_t bias = (uint32_t)out->bias[channel];
        const int32_t multiplier = out->multiplier[channel];
        const int32_t shift = out->shift[channel];
        SPK_UNROLL(4)
        for (uint32_t p = 0; p < pixels; p += 2) {
            const uint32_t high = sums[1] - offsets;
            const int32_t low = (int32_t)(bias + sums[0] - (high << 16));
            to[p][channel] = spk_rescale(out, near, low, multiplier, shift);
            to[p + 1][channel] = spk_rescale(out, near, (int32_t)(bias + high), multiplier, shift);
            sums += 2;
        }
    }
}

// pixels: 2 or 4 at a time. weights: (outputs / 4, taps, 4), taps even;
// scratch: (taps, pixels / 2) and 4 * pixels words for the sums.
SPK_INLINE void spk_conv2d_pairs(const struct spk_conv2d *c, uint32_t pixels, bool near,
                                 const int8_t *input, uint32_t *scratch, int8_t *output) {
    const uint32_t total = (uint32_t)c->out_height * c->out_width;
    const uint32_t outputs = c->outputs;
    const uint32_t taps = c->taps;
    const uint32_t offsets = taps / 2 * (SPK_PAIR_OFFSET >> 16);
    const struct spk_rescale out = c->out;
    uint32_t *const end = scratch + taps * (pixels / 2);
    uint32_t y = 0;
    uint32_t x = 0;
    for (uint32_t p = 0; p < pixels / 2; p++) {
        end[-1 - (int32_t)p] = 0; // the last tap may be there for evenness
    }
    for (uint32_t at = 0; at < total; at += pixels) {
        struct spk_windows w;
        int8_t *to[SPK_MOST_PIXELS];
        spk_conv2d_windows(c, pixels, &y, &x, &w);
        spk_conv2d_gather(c, pixels, &w, input, SPK_PAIRS, scratch);
        for (uint32_t p = 0; p < pixels; p++) {
            to[p] = output + spk_min_u32(at + p, total - 1) * outputs;
        }
        const int8_t *weights = c->weights;
        for (uint32_t o = 0; o < outputs; o += 4) {
            spk_conv2d_sums(scratch, pixels / 2, weights, end);
            spk_conv2d_codes(&out, pixels, near, end, offsets, o, spk_min_u32(4, outputs - o), to);
            weights += 4 * taps;
        }
    }
}

SPK_SHARED void spk_conv2d_four(const struct spk_conv2d *c, const int8_t *input, uint32_t *scratch,
                                int8_t *output) {
    spk_conv2d_pairs(c, 4, true, input, scratch, output);
}

SPK_SHARED void spk_conv2d_two(const struct spk_conv2d *c, const int8_t *input, uint32_t *scratch,
                               int8_t *output) {
    spk_conv2d_pairs(c, 2, true, input, scratch, output);
}

// Where spk_requantise_near does not hold.
SPK_SHARED void spk_conv2d_any(const struct spk_conv2d *c, const int8_t *input, uint32_t *scratch,
                               int8_t *output) {
    spk_conv2d_pairs(c, 2, false, input, scratch, output);
}

#if defined(SPK_CONV2D_DSP_H)
// weights: (outputs / 2, taps) int16; scratch: (taps / 4, 2 pixels, 4) int16; taps by eights.
SPK_INLINE void spk_conv2d_dsp(const struct spk_conv2d *c, enum spk_packing packing,
                               const int8_t *input, uint32_t *scratch, int8_t *output) {
    const uint32_t total = (uint32_t)c->out_height * c->out_width;
    const uint32_t outputs = c->outputs;
    const uint32_t taps = c->taps;
    uint32_t y = 0;
    uint32_t x = 0;
    for (uint32_t i = 1; i <= 8; i++) {
        scratch[taps - i] = 0; // the last taps may be there to fill up
    }
    for (uint32_t at = 0; at < total; at += 2) {
        struct spk_windows w;
        spk_conv2d_windows(c, 2, &y, &x, &w);
        spk_conv2d_gather(c, 2, &w, input, packing, scratch);
        int8_t *to = output + at * outputs;
        int8_t *next = at + 1 < total ? to + outputs : to;
        const uint32_t *weights = c->weights;
        const struct spk_scale *scale = c->scales;
        const int8_t *const end = to + outputs;
        do {
            const struct spk_dsp_sums sums = spk_conv2d_dsp_sums(scratch, weights, taps);
            weights += taps / 2;
            *to++ = spk_rescale_dsp(scale, sums.low[0] * 2);
            *next++ = spk_rescale_dsp(scale, sums.low[1] * 2);
            scale++;
            if (to != end) {
                *to++ = spk_rescale_dsp(scale, (sums.both[0] - sums.low[0]) >> 7);
                *next++ = spk_rescale_dsp(scale, (sums.both[1] - sums.low[1]) >> 7);
                scale++;
            }
        } while (to != end);
    }
    spk_clamp_codes(&c->out, output, total * outputs);
}

SPK_SHARED void spk_conv2d_dsp_lanes(const struct spk_conv2d *c, const int8_t *input,
                                     uint32_t *scratch, int8_t *output) {
    spk_conv2d_dsp(c, SPK_LANES, input, scratch, output);
}

// channels by fours; the taps of a quad in the order 0, 2, 1, 3
SPK_SHARED void spk_conv2d_dsp_quads(const struct spk_conv2d *c, const int8_t *input,
                                     uint32_t *scratch, int8_t *output) {
    spk_conv2d_dsp(c, SPK_QUADS, input, scratch, output);
}
#endif

#if defined(SPK_MVE_H)
// weights: as spk_mve_outputs asks for; scratch: (taps,) int8.
SPK_SHARED void spk_conv2d_mve(const struct spk_conv2d *c, const int8_t *input, uint32_t *scratch,
                               int8_t *output) {
    const struct spk_rescale out = c->out;
    uint32_t y = 0;
    uint32_t x = 0;
    for (uint32_t at = 0; at < (uint32_t)c->out_height * c->out_width; at++) {
        struct spk_windows w;
        const int8_t *from = (const int8_t *)scratch;
        spk_conv2d_windows(c, 1, &y, &x, &w);
        if (w.inside && c->kernel_height == 1) {
            from = input + (w.top[0] * c->width + w.left[0]) * c->channels;
        } else {
            spk_conv2d_gather(c, 1, &w, input, SPK_BYTES, scratch);
        }
        spk_mve_outputs(&out, from, c->weights, c->taps, c->outputs, output + at * c->outputs);
    }
}
#endif

// Without scratch, for windows that are too large for one. weights: (outputs / 4, taps, 4).
SPK_SHARED void spk_conv2d_direct(const struct spk_conv2d *c, const int8_t *input, int8_t *output) {
    for (uint32_t at = 0; at < (uint32_t)c->out_height * c->out_width; at++) {
        const int32_t top = (int32_t)(at / c->out_width * c->stride_down) - c->pad_top;
        const int32_t left = (int32_t)(at % c->out_width * c->stride_right) - c->pad_left;
        for (uint32_t o = 0; o < c->outputs; o++) {
            const int8_t *weights = (const int8_t *)c->weights + o / 4 * c->taps * 4 + o % 4;
            int32_t sum = c->out.bias[o];
            for (uint32_t tap = 0; tap < (uint32_t)c->kernel_height * c->kernel_width; tap++) {
                const int32_t y = top + (int32_t)(tap / c->kernel_width * c->dilation_down);
                const int32_t x = left + (int32_t)(tap % c->kernel_width * c->dilation_right);
                const bool there = (uint32_t)y < c->height && (uint32_t)x < c->width;
                const int8_t *from = there ? input + (y * c->width + x) * c->channels : c->padding;
                for (uint32_t i = 0; i < c->channels; i++, weights += 4) {
                    sum += from[i] * *weights;
                }
            }
            *output++ = spk_rescale(&c->out, false, sum, c->out.multiplier[o], c->out.shift[o]);
        }
    }
}

#endif
