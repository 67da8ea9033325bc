// Fully connected layers. Golden twin: pytools/spikelet/graph/ops/dense.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_DENSE_H
#define SPK_DENSE_H

#include "kernels/fixed.h"
#if defined(__ARM_FEATURE_DSP)
#include "kernels/arch/dsp.h"
#endif

// Spikes in, int16 sums out, four weights with one load and two adds.
//
// A column holds the weights from one input to all outputs, four to a word, each as weight + 128 so
// that lanes never borrow. Byte 0 and 2 belong to outputs 4j and 4j+1, byte 1 and 3 to 4j+2 and
// 4j+3. `even` sums bytes 0 and 2 in two 16-bit lanes. `shifted` sums word >> 8, that is bytes 1
// and 3 in lanes plus 2^8 times byte 2; the sum of byte 2 is in `even`, and is subtracted once, at
// the end. Arm's DSP extension adds bytes 1 and 3 to lanes in one instruction, so there they are by
// themselves; it has no such instruction to take off, so a column is taken off as 255 less its
// bytes.
//
// A lane holds 0x8000 + the sum so far - 128 for every column still to add + 128 for every one
// still to take off. It stays in 16 bits when every partial sum is within +-24575, which the
// exporter proves, and at most 64 columns are worked on in one go.
#if defined(__ARM_FEATURE_DSP)
enum { SPK_LANE_COLUMNS = 64, SPK_LANE_WORDS = 4 };
#else
enum { SPK_LANE_COLUMNS = 64, SPK_LANE_WORDS = 8 };
#endif
#define SPK_LANE_ZERO 0x80008000u
#define SPK_LANE_OFFSET 0x00800080u
#define SPK_LANE_MASK 0x00FF00FFu

// Columns to add, from the front of the list up to `added`, and columns to take off, from `dropped`
// to its back.
struct spk_dense_list {
    const uint32_t *column[SPK_LANE_COLUMNS]; // to the first word
    const uint32_t **added;
    const uint32_t **dropped;
};

SPK_INLINE void spk_dense_empty(struct spk_dense_list *list) {
    list->added = list->column;
    list->dropped = list->column + SPK_LANE_COLUMNS;
}

SPK_INLINE void spk_dense_column(const uint32_t *column, uint32_t words, bool drop, uint32_t *even,
                                 uint32_t *shifted) {
    SPK_OPAQUE(column);
    SPK_UNROLL(8)
    for (uint32_t j = 0; j < words; j++) {
        const uint32_t w = column[j];
#if defined(__ARM_FEATURE_DSP)
        even[j] = spk_uxtab16(even[j], drop ? ~w : w);
        shifted[j] = spk_uxtab16_high(shifted[j], drop ? ~w : w);
#else
        const uint32_t pair = w & SPK_LANE_MASK;
        even[j] = drop ? even[j] - pair : even[j] + pair;
        shifted[j] = drop ? shifted[j] - (w >> 8) : shifted[j] + (w >> 8);
#endif
        SPK_IN_ORDER();
    }
}

// What lanes of both words have too much after so many columns.
SPK_INLINE uint32_t spk_dense_offset(uint32_t added, uint32_t dropped) {
#if defined(__ARM_FEATURE_DSP)
    return added * SPK_LANE_OFFSET + dropped * 0x007F007Fu;
#else
    return (added - dropped) * SPK_LANE_OFFSET;
#endif
}

// What `shifted` has of byte 2.
SPK_INLINE uint32_t spk_dense_beside(uint32_t even) {
#if defined(__ARM_FEATURE_DSP)
    (void)even;
    return 0;
#else
    return (even >> 16) << 8;
#endif
}

// Lanes of `pairs` sums to start from, int16, or 0 for none; less an offset.
SPK_INLINE void spk_dense_begin(uint32_t words, uint32_t pairs, const uint32_t *start,
                                uint32_t offset, uint32_t *even, uint32_t *shifted) {
    if (start) {
        SPK_UNROLL(8)
        for (uint32_t j = 0; j < words; j++) {
            even[j] = (start[2 * j] ^ SPK_LANE_ZERO) - offset;
            const uint32_t next = 2 * j + 1 < pairs ? start[2 * j + 1] : 0;
            shifted[j] = (next ^ SPK_LANE_ZERO) - offset + spk_dense_beside(even[j]);
            SPK_IN_ORDER();
        }
    } else {
        const uint32_t none = SPK_LANE_ZERO - offset;
        SPK_UNROLL(8)
        for (uint32_t j = 0; j < words; j++) {
            even[j] = none;
            shifted[j] = none + spk_dense_beside(none);
        }
    }
}

// sums: (pairs,) of int16, of lanes that have an offset too much.
SPK_INLINE void spk_dense_end(uint32_t words, uint32_t pairs, uint32_t offset, const uint32_t *even,
                              const uint32_t *shifted, uint32_t *sums) {
    SPK_UNROLL(8)
    for (uint32_t j = 0; j < words; j++) {
        sums[2 * j] = (even[j] - offset) ^ SPK_LANE_ZERO;
        if (2 * j + 1 < pairs) {
            sums[2 * j + 1] = (shifted[j] - offset - spk_dense_beside(even[j])) ^ SPK_LANE_ZERO;
        }
        SPK_IN_ORDER();
    }
}

// Works on `words` (a constant, at most SPK_LANE_WORDS) words of outputs, from word `first` on.
// start: (pairs,) of int16 sums to start from, or 0 for none; sums: (pairs,), 2 * words or one
// less; drops: whether any column is ever taken off, a constant.
SPK_INLINE void spk_dense_lanes(const struct spk_dense_list *list, uint32_t first, uint32_t words,
                                uint32_t pairs, bool drops, const uint32_t *start, uint32_t *sums) {
    uint32_t even[SPK_LANE_WORDS];
    uint32_t shifted[SPK_LANE_WORDS];
    const uint32_t *const *const added = list->added;
    const uint32_t *const *const end = list->column + SPK_LANE_COLUMNS;
    const uint32_t offset = spk_dense_offset((uint32_t)(added - list->column),
                                             drops ? (uint32_t)(end - list->dropped) : 0);
    spk_dense_begin(words, pairs, start, offset, even, shifted);
    for (const uint32_t *const *at = list->column; at < added; at++) {
        spk_dense_column(*at + first, words, false, even, shifted);
    }
    if (drops) {
        for (const uint32_t *const *at = list->dropped; at < end; at++) {
            spk_dense_column(*at + first, words, true, even, shifted);
        }
    }
    spk_dense_end(words, pairs, 0, even, shifted, sums);
}

SPK_INLINE const uint32_t *spk_dense_lowest(uint32_t *bits, const uint32_t *base, uint32_t stride) {
    const uint8_t *column = (const uint8_t *)base + spk_take_lowest(bits) * stride;
    return (const uint32_t *)(const void *)column;
}

// Lists the columns of the set bits from `at` up; answers the end of the list.
// base: column of bit 0; stride: bytes from column to column.
static __attribute__((noinline, unused)) const uint32_t **
spk_dense_columns(uint32_t bits, const uint32_t *base, uint32_t stride, const uint32_t **at) {
    while (bits != 0) {
        *at++ = spk_dense_lowest(&bits, base, stride);
    }
    return at;
}

// The same below `at`; answers the front of the list.
static __attribute__((noinline, unused)) const uint32_t **
spk_dense_columns_below(uint32_t bits, const uint32_t *base, uint32_t stride, const uint32_t **at) {
    while (bits != 0) {
        *--at = spk_dense_lowest(&bits, base, stride);
    }
    return at;
}

// Sums of few outputs, at most SPK_LANE_WORDS words of them: no list, the lanes stay in registers.
struct spk_dense_sum {
    uint32_t even[SPK_LANE_WORDS];
    uint32_t shifted[SPK_LANE_WORDS];
    uint32_t added; // columns that the lanes have an offset of
};

// Adds the columns of up to 32 set bits.
SPK_INLINE void spk_dense_add(struct spk_dense_sum *sum, uint32_t bits, const uint32_t *base,
                              uint32_t words) {
    if (sum->added > SPK_LANE_COLUMNS - 32) {
        const uint32_t offset = spk_dense_offset(sum->added, 0);
        SPK_UNROLL(8)
        for (uint32_t j = 0; j < words; j++) {
            sum->shifted[j] -= offset + spk_dense_beside(sum->even[j]);
            sum->even[j] -= offset;
            sum->shifted[j] += spk_dense_beside(sum->even[j]);
        }
        sum->added = 0;
    }
    while (bits != 0) {
        const uint32_t *column = spk_dense_lowest(&bits, base, 4 * words);
        spk_dense_column(column, words, false, sum->even, sum->shifted);
        sum->added++;
    }
}

SPK_INLINE void spk_dense_blocks(struct spk_dense_list *list, uint32_t words, uint32_t pairs,
                                 bool drops, const uint32_t *start, uint32_t *sums) {
    const uint32_t rest = words % SPK_LANE_WORDS;
    uint32_t first = 0;
    for (; first + SPK_LANE_WORDS <= words; first += SPK_LANE_WORDS) {
        spk_dense_lanes(list, first, SPK_LANE_WORDS, pairs - 2 * first, drops,
                        start ? start + 2 * first : 0, sums + 2 * first);
    }
    if (rest != 0) {
        spk_dense_lanes(list, first, rest, pairs - 2 * first, drops, start ? start + 2 * first : 0,
                        sums + 2 * first);
    }
    spk_dense_empty(list);
}

// Lists the columns of 32 inputs that spike now and did not before, and those that did before only.
// base: column of bit 0, `words` words each.
SPK_INLINE void spk_dense_list_changes(struct spk_dense_list *list, uint32_t now,
                                       uint32_t *previous, const uint32_t *base, uint32_t words) {
    const uint32_t before = *previous;
    *previous = now;
    list->added = spk_dense_columns(now & ~before, base, 4 * words, list->added);
    list->dropped = spk_dense_columns_below(before & ~now, base, 4 * words, list->dropped);
}

// Lists the columns of the spikes from word `at` on, until few places are left or there are no
// more; answers where it stopped. at: before `end`.
SPK_INLINE const uint32_t *spk_dense_scan(struct spk_dense_list *list, const uint32_t *spikes,
                                          const uint32_t *at, const uint32_t *end,
                                          const uint32_t *weights, uint32_t words) {
    const uint32_t **added = list->added;
    do {
        uint32_t bits = *at++;
        // any of 32?
        if (bits != 0) {
            const uint32_t first = (uint32_t)(at - 1 - spikes) * 32;
            do {
                *added++ = spk_dense_lowest(&bits, weights + first * words, 4 * words);
            } while (bits != 0);
            if (added > list->column + SPK_LANE_COLUMNS - 32) {
                break;
            }
        }
    } while (at != end);
    list->added = added;
    return at;
}

// spikes: (inputs,) bits; weights: (inputs, words); bias: (2 * words,) pairs of int16, or 0;
// sums: (2 * words,) pairs of int16, the outputs in order.
SPK_INLINE void spk_dense_spikes_s16(const uint32_t *spikes, uint32_t inputs,
                                     const uint32_t *weights, uint32_t words, const uint32_t *bias,
                                     uint32_t *sums) {
    struct spk_dense_list list;
    const uint32_t input_words = (inputs + 31) / 32;
    if (words <= SPK_LANE_WORDS) {
        struct spk_dense_sum sum = {.added = 0};
        spk_dense_begin(words, 2 * words, bias, 0, sum.even, sum.shifted);
        for (uint32_t i = 0; i < input_words; i++) {
            spk_dense_add(&sum, spikes[i], weights + i * 32 * words, words);
        }
        spk_dense_end(words, 2 * words, spk_dense_offset(sum.added, 0), sum.even, sum.shifted,
                      sums);
        return;
    }
    spk_dense_empty(&list);
    for (const uint32_t *at = spikes; at != spikes + input_words; bias = sums) {
        at = spk_dense_scan(&list, spikes, at, spikes + input_words, weights, words);
        spk_dense_blocks(&list, words, 2 * words, false, bias, sums);
    }
}

// The same sums, from those of the step before: touches the columns of inputs that changed.
// previous: (inputs,) bits, the spikes that `sums` belongs to.
SPK_INLINE void spk_dense_changes_s16(const uint32_t *spikes, uint32_t *previous, uint32_t inputs,
                                      const uint32_t *weights, uint32_t words, uint32_t *sums) {
    struct spk_dense_list list;
    const uint32_t input_words = (inputs + 31) / 32;
    spk_dense_empty(&list);
    for (uint32_t i = 0; i < input_words; i++) {
        spk_dense_list_changes(&list, spikes[i], &previous[i], weights + i * 32 * words, words);
        if (list.dropped - list.added < 32 || i + 1 == input_words) {
            spk_dense_blocks(&list, words, 2 * words, true, sums, sums);
        }
    }
}

// bias: (2 * words,) pairs of int16, or 0.
SPK_INLINE void spk_dense_changes_start(const uint32_t *bias, uint32_t inputs, uint32_t words,
                                        uint32_t *previous, uint32_t *sums) {
    spk_clear(previous, 4 * ((inputs + 31) / 32));
    for (uint32_t i = 0; i < 2 * words; i++) {
        sums[i] = bias ? bias[i] : 0;
    }
}

// Spikes in, int32 sums out. weights: (inputs, outputs) int8; bias: (outputs,) or 0.
SPK_INLINE void spk_dense_spikes_s32(const uint32_t *spikes, uint32_t inputs, const int8_t *weights,
                                     uint32_t outputs, const int32_t *bias, int32_t *sums) {
    for (uint32_t o = 0; o < outputs; o++) {
        sums[o] = bias ? bias[o] : 0;
    }
    for (uint32_t i = 0; i < (inputs + 31) / 32; i++) {
        for (uint32_t bits = spikes[i]; bits != 0;) {
            const int8_t *column = weights + (i * 32 + spk_take_lowest(&bits)) * outputs;
            SPK_UNROLL(4)
            for (uint32_t o = 0; o < outputs; o++) {
                sums[o] += column[o];
            }
        }
    }
}

// 8-bit values in, int16 (narrow) or int32 sums out. values: (inputs,) uint8 or int8 (is_signed);
// weights: (ceil(outputs / 4), inputs, 4) int8, rows past the last output are 0;
// bias: (4 * ceil(outputs / 4),) or 0.
SPK_INLINE void spk_dense_values(const void *values, bool is_signed, uint32_t inputs,
                                 const int8_t *weights, uint32_t outputs, const int32_t *bias,
                                 bool wide, void *sums) {
    for (uint32_t o = 0; o < outputs; o += 4) {
        int32_t a0 = bias ? bias[o] : 0;
        int32_t a1 = bias ? bias[o + 1] : 0;
        int32_t a2 = bias ? bias[o + 2] : 0;
        int32_t a3 = bias ? bias[o + 3] : 0;
        for (uint32_t i = 0; i < inputs; i++, weights += 4) {
            const int32_t x =
                is_signed ? ((const int8_t *)values)[i] : ((const uint8_t *)values)[i];
            a0 += weights[0] * x;
            a1 += weights[1] * x;
            a2 += weights[2] * x;
            a3 += weights[3] * x;
        }
        const int32_t four[4] = {a0, a1, a2, a3};
        for (uint32_t k = 0; k < 4 && o + k < outputs; k++) {
            spk_store(sums, o + k, wide, four[k]);
        }
    }
}

#endif
