// Fully connected layer with weights of 1 or 2 bits, by tables: additions only.
// Golden twin: pytools/spikelet/graph/ops/fully_connected.py.
// SPDX-License-Identifier: Apache-2.0
//
// As conv2d_tables.h: four bits of weights choose one of the 16 sums of four inputs. Inputs go by
// blocks of 128.
#ifndef SPK_FULLY_CONNECTED_TABLES_H
#define SPK_FULLY_CONNECTED_TABLES_H

#include "kernels/fully_connected.h"

enum { SPK_DENSE_BLOCK = 128 }; // inputs

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

// The sum that `words` words of weights choose.
SPK_INLINE int32_t spk_dense_tables_sum(const uint32_t *weights, uint32_t words,
                                        const int16_t *table) {
    const uint32_t *const end = weights + words;
    int32_t sum = 0;
    do {
        const uint32_t word = *weights++;
        SPK_UNROLL(8)
        for (uint32_t i = 0; i < 32; i += 4) {
            const uint32_t offset = (i == 0 ? word << 1 : word >> (i - 1)) & 30;
            const char *at = (const char *)table + offset;
            sum += ((const int16_t *)(const void *)at)[4 * i];
            SPK_IN_ORDER();
        }
        table += 128;
    } while (weights != end);
    return sum;
}

// Adds a block to the sums of all channels. weights: (outputs, bits, words), the upper plane first.
SPK_INLINE const uint32_t *spk_dense_tables_add(const uint32_t *weights, uint32_t bits,
                                                uint32_t words, uint32_t outputs,
                                                const int16_t *table, int32_t *sum) {
    int32_t *const end = sum + outputs;
    do {
        int32_t own = spk_dense_tables_sum(weights, words, table);
        weights += words;
        if (bits == 2) {
            own = 2 * own + spk_dense_tables_sum(weights, words, table);
            weights += words;
        }
        *sum++ += own;
    } while (sum != end);
    return weights;
}

SPK_SHARED const uint32_t *spk_dense_tables_add_1(const uint32_t *weights, uint32_t words,
                                                  uint32_t outputs, const int16_t *table,
                                                  int32_t *sum) {
    return spk_dense_tables_add(weights, 1, words, outputs, table, sum);
}

SPK_SHARED const uint32_t *spk_dense_tables_add_2(const uint32_t *weights, uint32_t words,
                                                  uint32_t outputs, const int16_t *table,
                                                  int32_t *sum) {
    return spk_dense_tables_add(weights, 2, words, outputs, table, sum);
}

// weights: by blocks, (outputs, bits, words of 32 inputs). scratch: (outputs by fours,) sums, and
// tables of a block, (inputs / 4, 16) int16.
SPK_INLINE void spk_fully_connected_by_tables(const struct spk_fully_connected *of,
                                              enum spk_connected_rounding rounding, uint32_t bits,
                                              bool odd, const int8_t *input, uint32_t *scratch,
                                              int8_t *output) {
    const struct spk_fully_connected copy = *of; // the compiler sees that no output changes it
    const struct spk_fully_connected *c = &copy;
    const struct spk_grid grid = spk_grid(bits, odd, 8);
    const uint32_t *weights = c->weights;
    const uint32_t outputs = c->outputs;
    int32_t *const sums = (int32_t *)(void *)scratch;
    int16_t *const table = (int16_t *)(void *)(scratch + ((outputs + 3u) & ~3u));
    int32_t total = 0;
    for (uint32_t o = 0; o < outputs; o++) {
        sums[o] = 0;
    }
    for (uint32_t at = 0; at < c->inputs; at += SPK_DENSE_BLOCK) {
        const uint32_t n = spk_min_u32(SPK_DENSE_BLOCK, c->inputs - at);
        const uint32_t words = (n + 31) / 32;
        total += spk_dense_tables_make(input + at, n, table);
        weights = bits == 1 ? spk_dense_tables_add_1(weights, words, outputs, table, sums)
                            : spk_dense_tables_add_2(weights, words, outputs, table, sums);
    }
    const uint32_t inputs = grid.inputs * (uint32_t)total;
    for (uint32_t o = 0; o < outputs; o++) {
        const int32_t sum = (int32_t)(grid.factor * (uint32_t)sums[o] + inputs);
        spk_fully_connected_store(c, rounding, o, 1, &sum, output);
    }
}

// The variants: spk_fully_connected_tables_GRID_ROUNDING.
#define SPK_FULLY_CONNECTED_TABLES(name, rounding, grid, bits, odd)                                \
    SPK_SHARED void spk_fully_connected_tables_##grid##_##name(                                    \
        const struct spk_fully_connected *c, const int8_t *input, uint32_t *scratch,               \
        int8_t *output) {                                                                          \
        spk_fully_connected_by_tables(c, rounding, bits, odd, input, scratch, output);             \
    }
#define SPK_FULLY_CONNECTED_TABLES_GRIDS(name, rounding)                                           \
    SPK_FULLY_CONNECTED_TABLES(name, rounding, 1_odd, 1, true)                                     \
    SPK_FULLY_CONNECTED_TABLES(name, rounding, 2, 2, false)                                        \
    SPK_FULLY_CONNECTED_TABLES(name, rounding, 2_odd, 2, true)

SPK_FULLY_CONNECTED_TABLES_GRIDS(once, SPK_ONCE_NEAR)
SPK_FULLY_CONNECTED_TABLES_GRIDS(twice, SPK_TWICE_NEAR)
SPK_FULLY_CONNECTED_TABLES_GRIDS(wide, SPK_WIDE)

#endif
