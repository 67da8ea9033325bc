// Fully connected layer by tables: additions only. Weights of 1 or 2 bits; of all widths where a
// core has no multiplier, or a slow way to unpack them. Golden twin:
// pytools/spikelet/graph/ops/fully_connected.py. SPDX-License-Identifier: Apache-2.0
//
// As conv2d_tables.h: four bits of weights choose one of the 16 sums of four inputs. Weights of
// more than one bit are planes of bits, the upper one first. Inputs go by blocks.
#ifndef SPK_FULLY_CONNECTED_TABLES_H
#define SPK_FULLY_CONNECTED_TABLES_H

#include "kernels/fully_connected.h"
#if defined(__ARM_ARCH_ISA_THUMB) && __ARM_ARCH_ISA_THUMB == 1
#include "kernels/arch/tables_thumb1.h"
#endif

// The sums of four inputs, and of all of them.
SPK_INLINE int32_t spk_dense_tables_of(int32_t a, int32_t b, int32_t c, int32_t d, int16_t *table) {
    const int32_t ab = a + b;
    const int32_t sum[8] = {0, a, b, ab, c, a + c, b + c, ab + c};
    SPK_UNROLL(8)
    for (uint32_t k = 0; k < 8; k++) {
        table[k] = (int16_t)sum[k];
        table[8 + k] = (int16_t)(sum[k] + d);
    }
    return ab + c + d;
}

// Tables of n inputs, by whole words of weights: (n / 4, 16). The sum of the inputs.
SPK_SHARED int32_t spk_dense_tables_make(const int8_t *from, uint32_t n, int16_t *table) {
    int32_t total = 0;
    int16_t *const end = table + (n + 31) / 32 * 128;
    for (; n >= 4; n -= 4, from += 4, table += 16) {
        total += spk_dense_tables_of(from[0], from[1], from[2], from[3], table);
    }
    if (n > 0) {
        const int32_t b = n > 1 ? from[1] : 0;
        total += spk_dense_tables_of(from[0], b, n > 2 ? from[2] : 0, 0, table);
        table += 16;
    }
    for (; table != end; table += 16) { // no weights
        table[0] = 0;
    }
    return total;
}

// sum, and what a word of weights chooses. table: (8, 16).
SPK_INLINE int32_t spk_dense_tables_sum(int32_t sum, uint32_t word, const int16_t *table) {
#if defined(SPK_TABLES_THUMB1_H)
    return spk_tables_sum_thumb1(sum, word, table);
#else
    SPK_UNROLL(8)
    for (uint32_t i = 0; i < 32; i += 4) {
        const uint32_t offset = (i == 0 ? word << 1 : word >> (i - 1)) & 30;
        const char *at = (const char *)table + offset;
        sum += ((const int16_t *)(const void *)at)[4 * i];
        SPK_IN_ORDER();
    }
    return sum;
#endif
}

// Adds a block to the sums of all channels. weights: (outputs, words, bits), the upper plane first,
// of which `upper` count.
SPK_INLINE const uint32_t *spk_dense_tables_add(const uint32_t *weights, uint32_t bits,
                                                uint32_t upper, uint32_t words, uint32_t outputs,
                                                const int16_t *table, int32_t *sum) {
    const int16_t *const stop = table + 128 * words;
    int32_t *const end = sum + outputs;
    do {
        const int16_t *at = table;
        int32_t own = 0;
        do {
            if (bits == 1) {
                own = spk_dense_tables_sum(own, *weights, at);
            } else if (bits == 2) {
                own += 2 * spk_dense_tables_sum(0, weights[0], at);
                own = spk_dense_tables_sum(own, weights[1], at);
            } else {
                const uint32_t *const last = weights + upper;
                const uint32_t *plane = weights;
                int32_t some = 0;
                do {
                    some = spk_dense_tables_sum(2 * some, *plane++, at);
                } while (plane != last);
                own += some;
            }
            weights += bits;
            at += 128;
        } while (at != stop);
        *sum++ += own;
    } while (sum != end);
    return weights;
}

SPK_SHARED const uint32_t *spk_dense_tables_add_1(const uint32_t *weights, uint32_t words,
                                                  uint32_t outputs, const int16_t *table,
                                                  int32_t *sum) {
    return spk_dense_tables_add(weights, 1, 1, words, outputs, table, sum);
}

SPK_SHARED const uint32_t *spk_dense_tables_add_2(const uint32_t *weights, uint32_t words,
                                                  uint32_t outputs, const int16_t *table,
                                                  int32_t *sum) {
    return spk_dense_tables_add(weights, 2, 2, words, outputs, table, sum);
}

SPK_SHARED const uint32_t *spk_dense_tables_add_planes(const uint32_t *weights, uint32_t bits,
                                                       uint32_t upper, uint32_t words,
                                                       uint32_t outputs, const int16_t *table,
                                                       int32_t *sum) {
    return spk_dense_tables_add(weights, bits, upper, words, outputs, table, sum);
}

// weights: by blocks, (outputs, words of 32 inputs, bits). scratch: (outputs by fours,) sums, and
// tables of a block, (inputs / 4, 16) int16.
SPK_INLINE void spk_fully_connected_by_tables(const struct spk_fully_connected *of,
                                              enum spk_connected_rounding rounding, uint32_t bits,
                                              bool odd, uint32_t upper, const int8_t *input,
                                              uint32_t *scratch, int8_t *output) {
    const struct spk_fully_connected copy = *of; // the compiler sees that no output changes it
    const struct spk_fully_connected *c = &copy;
    const struct spk_grid grid = spk_planes_grid(bits, odd, upper);
    const uint32_t *weights = c->weights;
    const uint32_t outputs = c->outputs;
    int32_t *const sums = (int32_t *)(void *)scratch;
    int16_t *const table = (int16_t *)(void *)(scratch + ((outputs + 3u) & ~3u));
    int32_t total = 0;
    for (uint32_t o = 0; o < outputs; o++) {
        sums[o] = 0;
        SPK_IN_ORDER(); // no call of memset
    }
    for (uint32_t at = 0; at < c->inputs; at += c->block) {
        const uint32_t n = spk_min_u32(c->block, c->inputs - at);
        const uint32_t words = (n + 31) / 32;
        total += spk_dense_tables_make(input + at, n, table);
        if (bits == 1) {
            weights = spk_dense_tables_add_1(weights, words, outputs, table, sums);
        } else if (bits == 2) {
            weights = spk_dense_tables_add_2(weights, words, outputs, table, sums);
        } else {
            weights = spk_dense_tables_add_planes(weights, bits, spk_min_u32(bits, upper), words,
                                                  outputs, table, sums);
        }
    }
    const uint32_t inputs = grid.inputs * (uint32_t)total;
    for (uint32_t o = 0; o < outputs; o++) {
        const int32_t sum = (int32_t)(grid.factor * (uint32_t)sums[o] + inputs);
        spk_fully_connected_store(c, rounding, o, 1, &sum, output);
    }
}

// The variants: spk_fully_connected_tables_GRID_ROUNDING.
#define SPK_FULLY_CONNECTED_TABLES(name, rounding, grid, bits, odd, upper)                         \
    SPK_SHARED void spk_fully_connected_tables_##grid##_##name(                                    \
        const struct spk_fully_connected *c, const int8_t *input, uint32_t *scratch,               \
        int8_t *output) {                                                                          \
        spk_fully_connected_by_tables(c, rounding, bits, odd, upper, input, scratch, output);      \
    }
#define SPK_FULLY_CONNECTED_TABLES_GRIDS(name, rounding)                                           \
    SPK_FULLY_CONNECTED_TABLES(name, rounding, 1_odd, 1, true, 8)                                  \
    SPK_FULLY_CONNECTED_TABLES(name, rounding, 2, 2, false, 8)                                     \
    SPK_FULLY_CONNECTED_TABLES(name, rounding, 2_odd, 2, true, 8)                                  \
    SPK_FULLY_CONNECTED_TABLES(name, rounding, 4, 4, false, 8)                                     \
    SPK_FULLY_CONNECTED_TABLES(name, rounding, 4_odd, 4, true, 8)                                  \
    SPK_FULLY_CONNECTED_TABLES(name, rounding, 8, 8, false, 8)                                     \
    SPK_FULLY_CONNECTED_TABLES(name, rounding, 8_odd, 8, true, 8)                                  \
    SPK_FULLY_CONNECTED_TABLES(name, rounding, 8_odd_upper4, 8, true, 4)                           \
    SPK_FULLY_CONNECTED_TABLES(name, rounding, 8_odd_upper2, 8, true, 2)                           \
    SPK_FULLY_CONNECTED_TABLES(name, rounding, 8_odd_upper1, 8, true, 1)

SPK_FULLY_CONNECTED_TABLES_GRIDS(once, SPK_ONCE_NEAR)
SPK_FULLY_CONNECTED_TABLES_GRIDS(twice, SPK_TWICE_NEAR)
SPK_FULLY_CONNECTED_TABLES_GRIDS(wide, SPK_WIDE)

#endif
