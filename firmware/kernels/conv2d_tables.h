// Two-dimensional convolution with weights of 1 or 2 bits, by tables: additions only.
// Golden twin: pytools/spikelet/graph/ops/conv2d.py.
// SPDX-License-Identifier: Apache-2.0
//
// Of four taps there are 16 partial sums. They are made once for all output channels, and four bits
// of weights choose one. Two pixels lie in the halves of a word as in conv2d.h; 2 or 4 pixels share
// the choice. Taps go by blocks of 32. Weights of 2 bits are two planes: upper * 2 + lower.
//
// Order of reads and writes: as spk_conv2d_two and _four.
#ifndef SPK_CONV2D_TABLES_H
#define SPK_CONV2D_TABLES_H

#include "kernels/conv2d.h"
#if defined(__ARM_ARCH_ISA_THUMB) && __ARM_ARCH_ISA_THUMB == 1
#include "kernels/arch/tables_thumb1.h"
#endif

enum { SPK_BLOCK = 32 }; // taps

// Where a window is read on: kernel row and column, and how far in what lies side by side there.
struct spk_cursor {
    uint32_t row;
    uint32_t column;
    uint32_t at;
};

// The 16 sums of four taps, in the words of an entry's pair of pixels; that of all of them.
SPK_INLINE uint32_t spk_tables_of(uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t pairs,
                                  uint32_t *to) {
    const uint32_t ab = a + b;
    const uint32_t sum[8] = {0, a, b, ab, c, a + c, b + c, ab + c};
    SPK_UNROLL(8)
    for (uint32_t i = 0; i < 8; i++) {
        to[i * pairs] = sum[i];
        to[(8 + i) * pairs] = sum[i] + d;
    }
    return sum[7] + d;
}

SPK_INLINE uint32_t spk_tables_pair(const int8_t *const *from, uint32_t tap) {
    return (uint32_t)from[0][tap] + ((uint32_t)from[1][tap] << 16);
}

// Tables of `n` taps that lie side by side, by fours; answers their end. Adds all to seen:
// (pairs,).
SPK_INLINE uint32_t *spk_tables_direct(uint32_t pairs, const int8_t **from, uint32_t n,
                                       uint32_t *table, uint32_t *seen) {
    uint32_t *const end = table + n * 4 * pairs;
    do {
        SPK_UNROLL(2)
        for (uint32_t p = 0; p < pairs; p++) {
            const int8_t *const *const two = from + 2 * p;
            seen[p] +=
                spk_tables_of(spk_tables_pair(two, 0), spk_tables_pair(two, 1),
                              spk_tables_pair(two, 2), spk_tables_pair(two, 3), pairs, table + p);
            from[2 * p] += 4;
            from[2 * p + 1] += 4;
        }
        table += 16 * pairs;
    } while (table != end);
    return table;
}

// Adds the halves of n lanes to sums: (n, 2); or they are the first.
SPK_INLINE void spk_tables_split(const uint32_t *lanes, uint32_t n, bool first, uint32_t *sums) {
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t high = (uint32_t)((int32_t)(lanes[i] + 0x8000u) >> 16);
        sums[2 * i] = lanes[i] - (high << 16) + (first ? 0 : sums[2 * i]);
        sums[2 * i + 1] = high + (first ? 0 : sums[2 * i + 1]);
    }
}

// Tables of the next `n` taps of the windows, in each of which four bits of weights choose:
// (SPK_BLOCK / 4, 16, pairs). Adds all taps to inputs: (pixels,). words: (SPK_BLOCK, pairs).
SPK_INLINE void spk_tables_fill(const struct spk_conv2d *c, uint32_t pixels,
                                const struct spk_windows *w, struct spk_cursor *cursor, uint32_t n,
                                const int8_t *input, uint32_t *words, uint32_t *inputs) {
    const uint32_t pairs = pixels / 2;
    const uint32_t columns = w->inside ? 1 : c->geometry.kernel_width;
    const uint32_t run = (w->inside ? c->geometry.kernel_width : 1u) * c->geometry.channels;
    const bool fours = c->geometry.channels % 4 == 0;
    uint32_t *table = words + SPK_BLOCK * pairs;
    uint32_t *const end = table + SPK_BLOCK * 4 * pairs;
    uint32_t seen[2] = {0, 0};
    for (uint32_t done = 0; done < n;) {
        const uint32_t some = spk_min_u32(run - cursor->at, n - done);
        const int8_t *from[SPK_MOST_PIXELS];
        for (uint32_t p = 0; p < pixels; p++) {
            const int32_t y = w->top[p] + (int32_t)(cursor->row * c->geometry.dilation_down);
            const int32_t x = w->left[p] + (int32_t)(cursor->column * c->geometry.dilation_right);
            const bool there = (uint32_t)y < c->geometry.height && (uint32_t)x < c->geometry.width;
            from[p] =
                (there ? input + (y * c->geometry.width + x) * c->geometry.channels : c->padding) +
                cursor->at;
        }
        if (fours) {
            table = spk_tables_direct(pairs, from, some, table, seen);
        } else {
            spk_conv2d_pack_pairs(words, done, pixels, from, some);
        }
        done += some;
        cursor->at += some;
        if (cursor->at == run) {
            cursor->at = 0;
            if (++cursor->column == columns) {
                cursor->column = 0;
                cursor->row++;
            }
        }
    }
    if (!fours) {
        for (uint32_t i = n * pairs; i % (4 * pairs) != 0; i++) {
            words[i] = 0;
        }
        for (uint32_t i = 0; i < n; i += 4, table += 16 * pairs, words += 4 * pairs) {
            for (uint32_t p = 0; p < pairs; p++) {
                seen[p] += spk_tables_of(words[p], words[pairs + p], words[2 * pairs + p],
                                         words[3 * pairs + p], pairs, table + p);
            }
        }
    }
    spk_tables_split(seen, pairs, false, inputs);
    for (; table != end; table += 16 * pairs) { // no weights
        table[0] = 0;
        table[pairs - 1] = 0;
    }
}

// The sums that the bits of a word choose, added to `sum`: (pairs,).
SPK_INLINE void spk_tables_add(const uint32_t *weights, uint32_t pairs, const uint32_t *table,
                               uint32_t *sum) {
#if defined(SPK_TABLES_THUMB1_H)
    if (pairs == 2) {
        spk_tables_add_two_thumb1(*weights, table, sum);
    } else {
        spk_tables_add_thumb1(*weights, table, sum);
    }
#elif defined(__riscv_zba) // one instruction multiplies and adds
    const uint8_t *const bytes = (const uint8_t *)weights;
    SPK_UNROLL(4)
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t byte = bytes[i];
        const uint32_t *first = table + (byte & 15) * pairs;
        const uint32_t *second = table + (byte >> 4) * pairs;
        SPK_OPAQUE(first); // one address of an entry
        SPK_OPAQUE(second);
        for (uint32_t p = 0; p < pairs; p++) {
            sum[p] += first[32 * i * pairs + p];
        }
        for (uint32_t p = 0; p < pairs; p++) {
            sum[p] += second[(32 * i + 16) * pairs + p];
        }
        SPK_IN_ORDER();
    }
#else
    const uint32_t word = *weights;
    SPK_UNROLL(8)
    for (uint32_t i = 0; i < SPK_BLOCK; i += 4) {
        const uint32_t up = pairs == 2 ? 3 : 2; // 2^up bytes of an entry
        const uint32_t offset = (i < up ? word << up : word >> (i - up)) & 15u << up;
        const uint32_t *at = (const uint32_t *)(const void *)((const char *)table + offset);
        for (uint32_t p = 0; p < pairs; p++) {
            sum[p] += at[4 * i * pairs + p];
        }
        SPK_IN_ORDER();
    }
#endif
}

// A block of all channels. weights: (outputs, bits) words, the upper plane first; lanes: (outputs,
// pairs).
SPK_INLINE const uint32_t *spk_tables_block(const uint32_t *weights, uint32_t bits,
                                            uint32_t outputs, uint32_t pairs, const uint32_t *table,
                                            uint32_t *lanes) {
    uint32_t *const end = lanes + outputs * pairs;
    do {
        uint32_t sum[2] = {0, 0};
        if (bits == 1) {
            sum[0] = lanes[0];
            sum[1] = lanes[pairs - 1];
        }
        spk_tables_add(weights++, pairs, table, sum);
        if (bits == 2) {
            sum[0] = 2 * sum[0];
            sum[1] = 2 * sum[1];
            spk_tables_add(weights++, pairs, table, sum);
            sum[0] += lanes[0];
            sum[1] += lanes[pairs - 1];
        }
        for (uint32_t p = 0; p < pairs; p++) {
            *lanes++ = sum[p];
        }
    } while (lanes != end);
    return weights;
}

// One copy of each for all variants, with registers of its own.
#define SPK_TABLES(name, pixels)                                                                   \
    SPK_SHARED void spk_tables_fill_##name(                                                        \
        const struct spk_conv2d *c, const struct spk_windows *w, struct spk_cursor *cursor,        \
        uint32_t n, const int8_t *input, uint32_t *words, uint32_t *inputs) {                      \
        spk_tables_fill(c, pixels, w, cursor, n, input, words, inputs);                            \
    }                                                                                              \
    SPK_SHARED const uint32_t *spk_tables_block_##name##_1(                                        \
        const uint32_t *weights, uint32_t outputs, const uint32_t *table, uint32_t *lanes) {       \
        return spk_tables_block(weights, 1, outputs, (pixels) / 2, table, lanes);                  \
    }                                                                                              \
    SPK_SHARED const uint32_t *spk_tables_block_##name##_2(                                        \
        const uint32_t *weights, uint32_t outputs, const uint32_t *table, uint32_t *lanes) {       \
        return spk_tables_block(weights, 2, outputs, (pixels) / 2, table, lanes);                  \
    }

SPK_TABLES(four, 4)
SPK_TABLES(two, 2)

// The next `n` taps of all channels.
SPK_INLINE const uint32_t *spk_tables_next(const struct spk_conv2d *c, uint32_t pixels,
                                           uint32_t bits, const struct spk_windows *w,
                                           struct spk_cursor *cursor, uint32_t n,
                                           const int8_t *input, const uint32_t *weights,
                                           uint32_t *words, uint32_t *lanes) {
    const uint32_t outputs = c->geometry.outputs;
    uint32_t *const table = words + SPK_BLOCK * (pixels / 2);
    uint32_t *const inputs = lanes + outputs * (pixels / 2);
    if (pixels == 4) {
        spk_tables_fill_four(c, w, cursor, n, input, words, inputs);
        return bits == 1 ? spk_tables_block_four_1(weights, outputs, table, lanes)
                         : spk_tables_block_four_2(weights, outputs, table, lanes);
    }
    spk_tables_fill_two(c, w, cursor, n, input, words, inputs);
    return bits == 1 ? spk_tables_block_two_1(weights, outputs, table, lanes)
                     : spk_tables_block_two_2(weights, outputs, table, lanes);
}

// Codes of `pixels` outputs from the sums of all channels, or from their lanes.
SPK_INLINE void spk_tables_codes(const struct spk_rescale *out, uint32_t outputs, uint32_t pixels,
                                 bool wide, struct spk_grid grid, bool split, const uint32_t *lanes,
                                 const uint32_t *sums, uint32_t *inputs, int8_t *const *to) {
    for (uint32_t i = 0; i < pixels; i++) {
        inputs[i] *= 4 * grid.inputs;
    }
    for (uint32_t o = 0; o < outputs; o++) {
        uint32_t sum[SPK_MOST_PIXELS];
        if (split) {
            spk_tables_split(lanes, pixels / 2, true, sum);
        }
        SPK_UNROLL(4)
        for (uint32_t i = 0; i < pixels; i++) {
            sum[i] = 4 * grid.factor * (split ? sum[i] : sums[i]) + inputs[i];
        }
        spk_conv2d_channel(out, pixels, wide, sum, o, to);
        lanes += pixels / 2;
        sums += pixels;
    }
}

// weights: (blocks of 32 taps, outputs, bits) words. scratch: with P = pixels / 2, (32, P) taps,
// (8, 16, P) a table, (outputs, P) lanes, (P, 2) sums of the inputs; and (outputs, P, 2) sums where
// the taps are more than c->run.
SPK_INLINE void spk_conv2d_tables(const struct spk_conv2d *of, uint32_t pixels, bool wide,
                                  uint32_t bits, bool odd, const int8_t *input, uint32_t *scratch,
                                  int8_t *output) {
    const struct spk_conv2d copy = *of; // the compiler sees that no output changes it
    const struct spk_conv2d *c = &copy;
    const uint32_t total = (uint32_t)c->geometry.out_height * c->geometry.out_width;
    const uint32_t outputs = c->geometry.outputs;
    const uint32_t pairs = pixels / 2;
    const uint32_t run = SPK_BLOCK * c->run;
    const struct spk_grid grid = spk_grid(bits, odd, 8);
    uint32_t *const lanes = scratch + SPK_BLOCK * 5 * pairs;
    uint32_t *const inputs = lanes + outputs * pairs;
    uint32_t *const sums = inputs + pixels;
    uint32_t y = 0;
    uint32_t x = 0;
    for (uint32_t at = 0; at < total; at += pixels) {
        const uint32_t *weights = c->weights;
        struct spk_cursor cursor = {0, 0, 0};
        struct spk_windows w;
        int8_t *to[SPK_MOST_PIXELS];
        spk_conv2d_windows(c, pixels, &y, &x, &w);
        for (uint32_t p = 0; p < pixels; p++) {
            to[p] = output + spk_min_u32(at + p, total - 1) * outputs;
            inputs[p] = 0;
        }
        for (uint32_t begin = 0; begin < c->taps; begin += run) {
            const uint32_t end = spk_min_u32(begin + run, c->taps);
            for (uint32_t *lane = lanes; lane != inputs; lane++) {
                *lane = 0;
                SPK_IN_ORDER(); // no call of memset
            }
            for (uint32_t tap = begin; tap < end; tap += SPK_BLOCK) {
                const uint32_t n = spk_min_u32(SPK_BLOCK, end - tap);
                weights = spk_tables_next(c, pixels, bits, &w, &cursor, n, input, weights, scratch,
                                          lanes);
            }
            if (run < c->taps) {
                spk_tables_split(lanes, outputs * pairs, begin == 0, sums);
            }
        }
        if (run < c->taps) {
            spk_tables_codes(&c->out, outputs, pixels, wide, grid, false, lanes, sums, inputs, to);
        } else {
            spk_tables_codes(&c->out, outputs, pixels, wide, grid, true, lanes, sums, inputs, to);
        }
    }
}

// The variants: spk_conv2d_tables_PIXELS, with bits and grid; _wide where some channels are marked.
#define SPK_CONV2D_TABLES_OF(name, pixels, wide, bits, odd)                                        \
    SPK_SHARED void spk_conv2d_tables_##name(const struct spk_conv2d *c, const int8_t *input,      \
                                             uint32_t *scratch, int8_t *output) {                  \
        spk_conv2d_tables(c, pixels, wide, bits, odd, input, scratch, output);                     \
    }
#define SPK_CONV2D_TABLES(name, bits, odd)                                                         \
    SPK_CONV2D_TABLES_OF(four##name, 4, false, bits, odd)                                          \
    SPK_CONV2D_TABLES_OF(two##name, 2, false, bits, odd)                                           \
    SPK_CONV2D_TABLES_OF(four##name##_wide, 4, true, bits, odd)                                    \
    SPK_CONV2D_TABLES_OF(two##name##_wide, 2, true, bits, odd)

SPK_CONV2D_TABLES(_1_odd, 1, true)
SPK_CONV2D_TABLES(_2, 2, false)
SPK_CONV2D_TABLES(_2_odd, 2, true)

#endif
