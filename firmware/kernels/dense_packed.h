// Spikes in, sums out; weights of 1, 2 or 4 bits. Golden twins:
// pytools/spikelet/graph/ops/{dense,conv2d_sums}.py. SPDX-License-Identifier: Apache-2.0
#ifndef SPK_DENSE_PACKED_H
#define SPK_DENSE_PACKED_H

#include "kernels/dense.h"
#include "kernels/packed.h"

// A column holds the weights from one input to all outputs, 32 / bits to a word, each as the field
// that packed.h tells of. Sums of fields grow in lanes that double: fields of even number are added
// in lanes of twice their width, those of odd number beside them. What fills a lane goes into lanes
// of twice the width again, even ones here and odd ones there, and at 16 bits into the sums. So two
// lanes of 16 bits end in one word, and the fields lie in the order that makes them neighbours.
//
// Fields of odd number need no mask: `high` sums word >> bits, which is them and, above each, what
// `low` has of the next field; that is taken out once, at the end.

// How many columns fill a lane of twice the width: the largest field times this is all its ones.
SPK_INLINE uint32_t spk_few_columns(uint32_t bits) {
    return (1u << bits) + 1;
}

// The lower half of each lane of twice the width.
SPK_INLINE uint32_t spk_few_mask(uint32_t bits) {
    return 0xFFFFFFFFu / ((1u << bits) + 1);
}

// How many words of a column are worked on in one go: as many as there are registers for.
#if defined(__riscv) && !defined(__riscv_e)
enum { SPK_FEW_WORDS = 8 };
#else
enum { SPK_FEW_WORDS = 4 };
#endif
SPK_INLINE uint32_t spk_few_words(uint32_t bits) {
    return bits == 4 ? SPK_FEW_WORDS : bits == 2 ? 2 : 1;
}

// All constants where a kernel is called.
struct spk_few {
    uint32_t bits;
    uint32_t outputs;
    bool odd;   // a code k stands for 2k + 1
    bool drops; // whether any column is ever taken off
};

// What is left of a list.
struct spk_few_left {
    const uint32_t *const *added;
    const uint32_t *const *added_end;
    const uint32_t *const *dropped;
    const uint32_t *const *dropped_end;
};

SPK_INLINE bool spk_few_any(const struct spk_few *c, const struct spk_few_left *left) {
    return left->added < left->added_end || (c->drops && left->dropped < left->dropped_end);
}

SPK_INLINE void spk_few_column(const uint32_t *column, uint32_t words, uint32_t bits, bool drop,
                               uint32_t *lanes) {
    const uint32_t mask = spk_few_mask(bits);
    SPK_OPAQUE(column);
    SPK_UNROLL(8)
    for (uint32_t j = 0; j < words; j++) {
        const uint32_t w = column[j];
        const uint32_t fields = w & mask;
        lanes[2 * j] = drop ? lanes[2 * j] - fields : lanes[2 * j] + fields;
        lanes[2 * j + 1] = drop ? lanes[2 * j + 1] - (w >> bits) : lanes[2 * j + 1] + (w >> bits);
        SPK_IN_ORDER();
    }
}

// Takes the next field out of those of odd number, see above. lanes: (words, 2).
SPK_INLINE void spk_few_apart(uint32_t bits, uint32_t words, uint32_t *lanes) {
    SPK_UNROLL(8)
    for (uint32_t j = 0; j < words; j++) {
        lanes[2 * j + 1] -= lanes[2 * j] >> 2 * bits << bits;
    }
}

// Fills lanes with as many columns of the list as they hold, words `first` and on of each. A column
// that is taken off counts as all ones less its fields. lanes: (words, 2), of twice the width.
SPK_INLINE void spk_few_fill(const struct spk_few *c, struct spk_few_left *left, uint32_t first,
                             uint32_t words, uint32_t *lanes) {
    const uint32_t bits = c->bits;
    const uint32_t most = spk_few_columns(bits);
    const uint32_t adds = spk_min_u32((uint32_t)(left->added_end - left->added), most);
    const uint32_t *const *const added = left->added + adds;
    const uint32_t *const *dropped = left->dropped;
    uint32_t start = 0;
    if (c->drops) {
        const uint32_t drops =
            spk_min_u32((uint32_t)(left->dropped_end - left->dropped), most - adds);
        dropped += drops;
        start = drops * ((1u << bits) - 1) * (0xFFFFFFFFu / ((1u << 2 * bits) - 1));
    }
    SPK_UNROLL(8)
    for (uint32_t j = 0; j < words; j++) {
        lanes[2 * j] = start;
        lanes[2 * j + 1] = start + (start >> 2 * bits << bits);
    }
    for (; left->added < added; left->added++) {
        spk_few_column(*left->added + first, words, bits, false, lanes);
    }
    if (c->drops) {
        for (; left->dropped < dropped; left->dropped++) {
            spk_few_column(*left->dropped + first, words, bits, true, lanes);
        }
    }
    spk_few_apart(bits, words, lanes);
}

// Adds lanes of `bits` to lanes of twice the width: even ones to the first word, odd ones to the
// second. from: (n,); to: (n, 2).
SPK_INLINE void spk_few_widen(const uint32_t *from, uint32_t n, uint32_t bits, uint32_t *to) {
    SPK_UNROLL(8)
    for (uint32_t i = 0; i < n; i++) {
        to[2 * i] += from[i] & spk_few_mask(bits);
        to[2 * i + 1] += from[i] >> bits & spk_few_mask(bits);
    }
}

// Sums of as much of the list as lanes of 8 bits hold: 17 columns of 4 bits, all of fewer.
// bytes: (8 / bits * words,), four a word.
SPK_INLINE void spk_few_bytes(const struct spk_few *c, struct spk_few_left *left, uint32_t first,
                              uint32_t words, uint32_t *bytes) {
    if (c->bits == 4) {
        spk_few_fill(c, left, first, words, bytes);
        return;
    }
    for (uint32_t i = 0; i < 8 / c->bits * words; i++) {
        bytes[i] = 0;
        SPK_IN_ORDER(); // no call of memset
    }
    while (spk_few_any(c, left)) {
        uint32_t lanes[4];
        uint32_t nibbles[4] = {0};
        if (c->bits == 2) {
            spk_few_fill(c, left, first, words, lanes);
            spk_few_widen(lanes, 2 * words, 4, bytes);
            continue;
        }
        for (uint32_t i = spk_few_columns(2); i > 0 && spk_few_any(c, left); i--) {
            spk_few_fill(c, left, first, words, lanes);
            spk_few_widen(lanes, 2 * words, 2, nibbles);
        }
        spk_few_widen(nibbles, 4 * words, 4, bytes);
    }
}

// Adds sums of fields to `pairs` pairs of sums; so many columns were added and taken off.
SPK_INLINE void spk_few_store(const struct spk_few *c, const uint32_t *bytes, uint32_t adds,
                              uint32_t drops, uint32_t pairs, const uint32_t *start,
                              uint32_t *sums) {
    const struct spk_grid grid = spk_grid(c->bits, c->odd, 8);
    const uint32_t offset =
        grid.inputs * (adds - drops) - grid.factor * drops * ((1u << c->bits) - 1);
    const uint32_t offsets = offset * 0x00010001u;
    const uint32_t none = SPK_LANE_ZERO + offsets;
    SPK_UNROLL(32)
    for (uint32_t i = 0; i < pairs; i++) {
        const uint32_t pair = (i % 2 ? bytes[i / 2] >> 8 : bytes[i / 2]) & SPK_LANE_MASK;
        const uint32_t sum = start ? (start[i] ^ SPK_LANE_ZERO) + offsets : none;
        sums[i] = (sum + grid.factor * pair) ^ SPK_LANE_ZERO;
        SPK_IN_ORDER();
    }
}

// Words `first` and on, `words` of them, whose sums are `pairs` pairs.
SPK_INLINE void spk_few_block(const struct spk_few *c, const struct spk_dense_list *list,
                              uint32_t first, uint32_t words, uint32_t pairs, const uint32_t *start,
                              uint32_t *sums) {
    struct spk_few_left left = {list->column, list->added, list->dropped,
                                list->column + SPK_LANE_COLUMNS};
    do {
        uint32_t bytes[2 * SPK_FEW_WORDS < 8 ? 8 : 2 * SPK_FEW_WORDS];
        const struct spk_few_left before = left;
        spk_few_bytes(c, &left, first, words, bytes);
        const uint32_t drops = c->drops ? (uint32_t)(left.dropped - before.dropped) : 0;
        const uint32_t adds = (uint32_t)(left.added - before.added);
        spk_few_store(c, bytes, adds, drops, pairs, start, sums);
        start = sums;
    } while (spk_few_any(c, &left));
}

// start: (outputs,) sums to start from as pairs of int16, or 0 for none; sums: the same.
SPK_INLINE void spk_few_blocks(const struct spk_few *c, struct spk_dense_list *list,
                               const uint32_t *start, uint32_t *sums) {
    const uint32_t words = spk_few_words(c->bits);
    const uint32_t pairs = 16 / c->bits; // of a word
    const uint32_t all = (c->outputs + 1) / 2;
    const uint32_t rest = all % (words * pairs);
    uint32_t first = 0;
    for (; first < all - rest; first += words * pairs) {
        spk_few_block(c, list, first / pairs, words, words * pairs, start ? start + first : 0,
                      sums + first);
    }
    if (rest != 0) {
        spk_few_block(c, list, first / pairs, (rest + pairs - 1) / pairs, rest,
                      start ? start + first : 0, sums + first);
    }
    spk_dense_empty(list);
}

// The same of a layer of few outputs with weights of 4 bits: no list, the lanes stay in registers.
SPK_INLINE void spk_dense_packed_direct(const struct spk_few *c, const uint32_t *spikes,
                                        uint32_t inputs, const uint32_t *weights,
                                        const uint32_t *start, uint32_t *sums) {
    const uint32_t words = (c->outputs * c->bits + 31) / 32;
    const uint32_t pairs = (c->outputs + 1) / 2;
    uint32_t room = spk_few_columns(c->bits);
    uint32_t lanes[2 * SPK_FEW_WORDS] = {0};
    for (uint32_t i = 0; i < inputs; i += 32) {
        for (uint32_t bits = *spikes++; bits != 0;) {
            if (room == 0) {
                spk_few_apart(c->bits, words, lanes);
                spk_few_store(c, lanes, spk_few_columns(c->bits), 0, pairs, start, sums);
                start = sums;
                room = spk_few_columns(c->bits);
                for (uint32_t j = 0; j < 2 * words; j++) {
                    lanes[j] = 0;
                }
            }
            room--;
            const uint32_t *column = weights + (i + spk_take_lowest(&bits)) * words;
            spk_few_column(column, words, c->bits, false, lanes);
        }
    }
    spk_few_apart(c->bits, words, lanes);
    spk_few_store(c, lanes, spk_few_columns(c->bits) - room, 0, pairs, start, sums);
}

// spikes: (inputs,) bits; weights: (inputs, words); bias: (outputs,) pairs of int16, or 0;
// sums: (outputs,) pairs of int16.
SPK_INLINE void spk_dense_packed_s16(const struct spk_few *c, const uint32_t *spikes,
                                     uint32_t inputs, const uint32_t *weights, const uint32_t *bias,
                                     uint32_t *sums) {
    struct spk_dense_list list;
    const uint32_t words = (c->outputs * c->bits + 31) / 32;
    const uint32_t input_words = (inputs + 31) / 32;
    if (c->bits == 4 && words <= SPK_FEW_WORDS) {
        spk_dense_packed_direct(c, spikes, inputs, weights, bias, sums);
        return;
    }
    spk_dense_empty(&list);
    for (const uint32_t *at = spikes; at != spikes + input_words; bias = sums) {
        at = spk_dense_scan(&list, spikes, at, spikes + input_words, weights, words);
        spk_few_blocks(c, &list, bias, sums);
    }
}

// The same sums, from those of the step before: touches the columns of inputs that changed.
// previous: (inputs,) bits, the spikes that `sums` belongs to.
SPK_INLINE void spk_dense_packed_changes_s16(const struct spk_few *c, const uint32_t *spikes,
                                             uint32_t *previous, uint32_t inputs,
                                             const uint32_t *weights, uint32_t *sums) {
    struct spk_dense_list list;
    const uint32_t words = (c->outputs * c->bits + 31) / 32;
    const uint32_t input_words = (inputs + 31) / 32;
    spk_dense_empty(&list);
    for (uint32_t i = 0; i < input_words; i++) {
        spk_dense_list_changes(&list, spikes[i], &previous[i], weights + i * 32 * words, words);
        if (list.dropped - list.added < 32 || i + 1 == input_words) {
            spk_few_blocks(c, &list, sums, sums);
        }
    }
}

// Adds a column to int32 sums (outputs,), or int16. column: the fields in their order.
SPK_INLINE void spk_few_add(const uint32_t *column, uint32_t bits, struct spk_grid grid,
                            uint32_t outputs, bool wide, void *sums, uint32_t first) {
    uint32_t word = 0;
    for (uint32_t o = 0, left = 0; o < outputs; o++, left--) {
        if (left == 0) {
            word = *column++;
            left = 32 / bits;
        }
        const uint32_t weight = grid.factor * (word & ((1u << bits) - 1)) + grid.inputs;
        word >>= bits;
        spk_store(sums, first + o, wide, spk_add(spk_load(sums, first + o, wide), (int32_t)weight));
    }
}

// int32 sums. weights: (inputs, words) of fields in the order of outputs; bias: (outputs,) or 0.
SPK_INLINE void spk_dense_packed_s32(const struct spk_few *c, const uint32_t *spikes,
                                     uint32_t inputs, const uint32_t *weights, const int32_t *bias,
                                     int32_t *sums) {
    const struct spk_grid grid = spk_grid(c->bits, c->odd, 8);
    const uint32_t words = (c->outputs * c->bits + 31) / 32;
    for (uint32_t o = 0; o < c->outputs; o++) {
        sums[o] = bias ? bias[o] : 0;
    }
    for (uint32_t i = 0; i < (inputs + 31) / 32; i++) {
        for (uint32_t bits = spikes[i]; bits != 0;) {
            const uint32_t *column = weights + (i * 32 + spk_take_lowest(&bits)) * words;
            spk_few_add(column, c->bits, grid, c->outputs, true, sums, 0);
        }
    }
}

#endif
