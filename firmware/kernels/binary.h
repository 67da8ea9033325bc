// Layers on signs: a bit 1 stands for 1, 0 for -1.
// Golden twins: pytools/spikelet/graph/ops/{threshold,binary_conv2d}.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_BINARY_H
#define SPK_BINARY_H

#include "kernels/geometry.h"
#include "kernels/requantise.h"

// x: n codes, channels last; bits: (n,). threshold: (channels,).
SPK_SHARED void spk_threshold(const int8_t *x, uint32_t n, const int16_t *threshold,
                              uint32_t channels, uint32_t *bits) {
    uint32_t channel = 0;
    for (uint32_t i = 0; i < n; i += 32) {
        const uint32_t end = n - i < 32 ? n - i : 32;
        uint32_t word = 0;
        for (uint32_t b = 0; b < end; b++) {
            word |= (uint32_t)(*x++ >= threshold[channel]) << b;
            channel = channel + 1 < channels ? channel + 1 : 0;
        }
        *bits++ = word;
    }
}

struct spk_binary_conv2d {
    const uint32_t *weights; // (outputs by fours, kernel_height * kernel_width * words), see below
    const int32_t *limits;   // (outputs,) 1 where fewer bits differ, by fours
    struct spk_rescale out;  // (outputs,), with the bits of a window in the bias; or limits
    struct spk_geometry geometry;
    uint16_t words; // of a pixel
    int8_t outside; // what the taps beyond the image see: -1, 0 or 1
};

SPK_INLINE uint32_t *spk_copy_words(uint32_t *to, const uint32_t *from, uint32_t n) {
    uint32_t *const end = to + n;
    do {
        *to++ = *from++;
        SPK_IN_ORDER(); // no call of memcpy
    } while (to != end);
    return to;
}

// The window of output (y, x) into (taps, words); how many of its taps lie outside and do not
// count. masked: (taps, words) of masks follow, 0 for those.
SPK_INLINE uint32_t spk_binary_gather(const struct spk_geometry *g, uint32_t words, int32_t outside,
                                      bool masked, uint32_t y, uint32_t x, const uint32_t *input,
                                      uint32_t *window) {
    const uint32_t all = (uint32_t)g->kernel_height * g->kernel_width * words;
    const uint32_t left = x * g->stride_right - g->pad_left;
    const bool whole = left <= g->width && left + g->kernel_width <= g->width &&
                       (g->dilation_right == 1 || g->kernel_width == 1);
    uint32_t missing = 0;
    for (uint32_t i = 0; i < g->kernel_height; i++) {
        const uint32_t row = y * g->stride_down + i * g->dilation_down - g->pad_top;
        const uint32_t *from = input + (int32_t)((row * g->width + left) * words);
        if (whole && !masked && row < g->height) {
            window = spk_copy_words(window, from, g->kernel_width * words);
            continue;
        }
        for (uint32_t j = 0; j < g->kernel_width; j++) {
            const uint32_t column = left + j * g->dilation_right;
            const bool there = row < g->height && column < g->width;
            for (uint32_t w = 0; w < words; w++) {
                *window = there ? from[w] : outside > 0 ? 0xFFFFFFFFu : 0;
                if (masked) {
                    window[all] = there ? 0xFFFFFFFFu : 0;
                }
                window++;
            }
            from += g->dilation_right * words;
            missing += masked && !there;
        }
    }
    return missing;
}

#if defined(__riscv_zbb)
// Counts the bits in which a window of `words` words differs from rows of weights. masked: of the
// bits of the masks, which follow the window. weights: (rows / 4, words, 4).
SPK_INLINE void spk_binary_count(const uint32_t *window, bool masked, const uint32_t *weights,
                                 uint32_t words, uint32_t rows, uint32_t *count) {
    const uint32_t *const end = window + words;
    for (uint32_t row = 0; row < rows; row += 4) {
        uint32_t a = 0, b = 0, c = 0, d = 0;
        const uint32_t *x = window;
        SPK_UNROLL(4)
        do {
            const uint32_t mask = masked ? x[words] : 0xFFFFFFFFu;
            a += (uint32_t)__builtin_popcount((*x ^ weights[0]) & mask);
            b += (uint32_t)__builtin_popcount((*x ^ weights[1]) & mask);
            c += (uint32_t)__builtin_popcount((*x ^ weights[2]) & mask);
            d += (uint32_t)__builtin_popcount((*x ^ weights[3]) & mask);
            x++;
            weights += 4;
        } while (x != end);
        count[0] = a;
        count[1] = b;
        count[2] = c;
        count[3] = d;
        count += 4;
    }
}
#else
// In each column of bits, *sum + b + c is 2 * the carry that is returned + *sum.
SPK_INLINE uint32_t spk_carry_save(uint32_t *sum, uint32_t b, uint32_t c) {
    const uint32_t a = *sum;
    const uint32_t half = a ^ b;
    *sum = half ^ c;
    return (a & b) | (half & c);
}

// How many bits of each four are set, in four bits.
SPK_INLINE uint32_t spk_count_fours(uint32_t x) {
    x -= x >> 1 & 0x55555555u;
    return (x & 0x33333333u) + (x >> 2 & 0x33333333u);
}

// Of each eight, one + 2 * two.
SPK_INLINE uint32_t spk_count_eights(uint32_t one, uint32_t two) {
    const uint32_t fours = spk_count_fours(one) + 2 * spk_count_fours(two);
    return (fours & 0x0F0F0F0Fu) + (fours >> 4 & 0x0F0F0F0Fu);
}

// Of each eight columns of n words, in eight bits. Full adders bring the words to two or four, of
// which a bit counts 1, 2, 4 and 8 (Harley and Seal): for 15 words they need 55 instructions,
// and counting 42.
SPK_INLINE uint32_t spk_binary_eights(const uint32_t *x, uint32_t n) {
    uint32_t one = x[0];
    if (n == 1) {
        return spk_count_eights(one, 0);
    }
    uint32_t two = spk_carry_save(&one, x[1], x[2]);
    if (n == 3) {
        return spk_count_eights(one, two);
    }
    uint32_t next = spk_carry_save(&one, x[3], x[4]);
    uint32_t four = spk_carry_save(&two, next, spk_carry_save(&one, x[5], x[6]));
    next = spk_carry_save(&one, x[7], x[8]);
    if (n == 9) {
        return spk_count_eights(one, two) + 2 * spk_count_eights(next, four);
    }
    const uint32_t second = spk_carry_save(&two, next, spk_carry_save(&one, x[9], x[10]));
    next = spk_carry_save(&one, x[11], x[12]);
    next = spk_carry_save(&two, next, spk_carry_save(&one, x[13], x[14]));
    const uint32_t eight = spk_carry_save(&four, second, next);
    return spk_count_eights(one, two) + 4 * spk_count_eights(four, eight);
}

// Adds the bits in which n words of a window differ from rows of weights. stride: from a row to
// the next. masks: at which word of the window they begin, or 0 where all bits count.
SPK_INLINE void spk_binary_block(uint32_t n, const uint32_t *window, uint32_t masks,
                                 const uint32_t *weights, uint32_t stride, uint32_t rows,
                                 uint32_t *count) {
    uint32_t x[15];
    SPK_UNROLL(15)
    for (uint32_t i = 0; i < n; i++) {
        x[i] = window[i];
    }
    uint32_t *const end = count + rows;
    do {
        uint32_t differing[15];
        SPK_UNROLL(15)
        for (uint32_t i = 0; i < n; i++) {
            differing[i] = x[i] ^ weights[i];
            differing[i] &= masks ? window[masks + i] : 0xFFFFFFFFu;
        }
        uint32_t eights = spk_binary_eights(differing, n);
        eights += eights << 8;
        *count++ += (eights >> 24) + (eights >> 8 & 0xFF);
        weights += stride;
    } while (count != end);
}

// weights: (rows, words).
SPK_INLINE void spk_binary_blocks(const uint32_t *window, bool masked, const uint32_t *weights,
                                  uint32_t words, uint32_t rows, uint32_t *count) {
    const uint32_t masks = masked ? words : 0;
    for (uint32_t row = 0; row < rows; row += 4) {
        count[row] = count[row + 1] = count[row + 2] = count[row + 3] = 0;
        SPK_IN_ORDER(); // no call of memset
    }
    for (uint32_t left = words, done; left > 0; left -= done) {
        if (left >= 15) {
            spk_binary_block(15, window, masks, weights, words, rows, count);
            done = 15;
        } else if (left >= 9) {
            spk_binary_block(9, window, masks, weights, words, rows, count);
            done = 9;
        } else if (left >= 3) {
            spk_binary_block(3, window, masks, weights, words, rows, count);
            done = 3;
        } else {
            spk_binary_block(1, window, masks, weights, words, rows, count);
            done = 1;
        }
        window += done;
        weights += done;
    }
}

SPK_SHARED void spk_binary_count_whole(const uint32_t *window, const uint32_t *weights,
                                       uint32_t words, uint32_t rows, uint32_t *count) {
    spk_binary_blocks(window, false, weights, words, rows, count);
}

SPK_SHARED void spk_binary_count_masked(const uint32_t *window, const uint32_t *weights,
                                        uint32_t words, uint32_t rows, uint32_t *count) {
    spk_binary_blocks(window, true, weights, words, rows, count);
}

// Counts the bits in which a window of `words` words differs from rows of weights. masked: of the
// bits of the masks, which follow the window. weights: (rows, words).
SPK_INLINE void spk_binary_count(const uint32_t *window, bool masked, const uint32_t *weights,
                                 uint32_t words, uint32_t rows, uint32_t *count) {
    if (masked) {
        spk_binary_count_masked(window, weights, words, rows, count);
    } else {
        spk_binary_count_whole(window, weights, words, rows, count);
    }
}
#endif

// Of one window, `words` words. masked: its masks follow it, and 2 * `half`
// bits do not count.
SPK_INLINE void *spk_binary_outputs(const struct spk_binary_conv2d *c, bool bits, bool wide,
                                    bool masked, const uint32_t *window, uint32_t words,
                                    int32_t half, void *output) {
    const uint32_t *weights = c->weights;
    uint32_t *to = output;
    int8_t *code = output;
    for (uint32_t first = 0; first < c->geometry.outputs; first += 32) {
        const uint32_t rows = (spk_min_u32(32, c->geometry.outputs - first) + 3) & ~3u;
        uint32_t count[32];
        spk_binary_count(window, masked, weights, words, rows, count);
        weights += rows * words;
        uint32_t word = 0;
        for (uint32_t i = 0; i < rows; i += 4) {
            uint32_t four = 0;
            SPK_UNROLL(4)
            for (uint32_t k = 0; k < 4; k++) {
                const int32_t differing = (int32_t)count[i + k] + half;
                const uint32_t o = first + i + k;
                if (bits) {
                    four |= (uint32_t)(differing < c->limits[o]) << k;
                } else if (o < c->geometry.outputs) {
                    *code++ = spk_rescale_marked(&c->out, wide, c->out.bias[o] - 2 * differing,
                                                 spk_multiplier_of(&c->out, wide, o),
                                                 spk_shift_of(&c->out, wide, o));
                }
            }
            word |= four << i;
        }
        if (bits) {
            *to++ = word;
        }
    }
    return bits ? (void *)to : (void *)code;
}

// Where p bits of n differ, the sum is n - 2p. A tap that does not count takes its bits from n;
// there are whole words of them, an even number.
// The variants: spk_binary_conv2d_OUTPUT, of codes _wide where some channels are marked; _masked
// where taps outside do not count. scratch: (taps, words), with masks twice.
#define SPK_BINARY_CONV2D(name, bits, wide, masked)                                                \
    SPK_SHARED void *spk_binary_whole_##name(                                                      \
        const struct spk_binary_conv2d *c, const uint32_t *window, uint32_t words, void *output) { \
        return spk_binary_outputs(c, bits, wide, false, window, words, 0, output);                 \
    }                                                                                              \
    SPK_SHARED void *spk_binary_part_##name(const struct spk_binary_conv2d *c,                     \
                                            const uint32_t *window, uint32_t words, int32_t half,  \
                                            void *output) {                                        \
        return spk_binary_outputs(c, bits, wide, true, window, words, half, output);               \
    }                                                                                              \
    SPK_SHARED void spk_binary_conv2d_##name(const struct spk_binary_conv2d *of,                   \
                                             const uint32_t *input, uint32_t *scratch,             \
                                             void *output) {                                       \
        const struct spk_binary_conv2d c = *of;                                                    \
        const struct spk_geometry *g = &c.geometry;                                                \
        const uint32_t words = (uint32_t)g->kernel_height * g->kernel_width * c.words;             \
        for (uint32_t y = 0; y < g->out_height; y++) {                                             \
            for (uint32_t x = 0; x < g->out_width; x++) {                                          \
                const uint32_t missing =                                                           \
                    spk_binary_gather(g, c.words, c.outside, masked, y, x, input, scratch);        \
                const int32_t half = (int32_t)(missing * g->channels / 2);                         \
                output = missing ? spk_binary_part_##name(of, scratch, words, half, output)        \
                                 : spk_binary_whole_##name(of, scratch, words, output);            \
            }                                                                                      \
        }                                                                                          \
    }

SPK_BINARY_CONV2D(bits, true, false, false)
SPK_BINARY_CONV2D(codes, false, false, false)
SPK_BINARY_CONV2D(codes_wide, false, true, false)
SPK_BINARY_CONV2D(bits_masked, true, false, true)
SPK_BINARY_CONV2D(codes_masked, false, false, true)
SPK_BINARY_CONV2D(codes_wide_masked, false, true, true)

#endif
