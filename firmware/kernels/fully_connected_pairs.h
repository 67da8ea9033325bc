// Fully connected layer with weights of 4 bits: two channels in one multiplication, see pairs.h.
// Golden twin: pytools/spikelet/graph/ops/fully_connected.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_FULLY_CONNECTED_PAIRS_H
#define SPK_FULLY_CONNECTED_PAIRS_H

#include "kernels/fully_connected.h"
#include "kernels/pairs.h"

// Adds an input to the sums of eight channels.
SPK_INLINE void spk_dense_pairs_add(uint32_t x, uint32_t word, uint32_t *both) {
    both[0] += x * spk_pair(word, 0);
    both[1] += x * spk_pair(word, 1);
    both[2] += x * spk_pair(word, 2);
    both[3] += x * spk_pair(word, 3);
    SPK_OPAQUE(both[0]); // input by input: the compiler would hold back products, and spill them
    SPK_OPAQUE(both[1]);
    SPK_OPAQUE(both[2]);
    SPK_OPAQUE(both[3]);
    SPK_IN_ORDER();
}

// Sums of a run of up to SPK_PAIR_RUN inputs, added to those of eight channels.
SPK_INLINE const uint32_t *spk_dense_pairs_run(const int8_t *from, uint32_t n,
                                               const uint32_t *weights, uint32_t start,
                                               uint32_t *sum) {
    const int8_t *const end = from + n;
    const int8_t *const eights = from + (n & ~7u);
    uint32_t both[4] = {start, start, start, start};
    while (from != eights) {
        SPK_UNROLL(8)
        for (uint32_t i = 0; i < 8; i++) {
            spk_dense_pairs_add((uint32_t)from[i], weights[i], both);
        }
        from += 8;
        weights += 8;
    }
    while (from != end) {
        spk_dense_pairs_add((uint32_t)*from++, *weights++, both);
    }
    SPK_UNROLL(4)
    for (uint32_t k = 0; k < 4; k++) {
        sum[2 * k] += both[k];
        sum[2 * k + 1] += spk_pair_high(both[k]);
    }
    return weights;
}

// Sums of eight channels of n inputs. weights: (n,) words; starts: of each run of inputs.
SPK_SHARED const uint32_t *spk_dense_pairs_sums(const int8_t *from, uint32_t n,
                                                const uint32_t *weights, const uint32_t *starts,
                                                uint32_t *sums) {
    uint32_t sum[8] = {0};
    for (; n > SPK_PAIR_RUN; n -= SPK_PAIR_RUN, from += SPK_PAIR_RUN) {
        weights = spk_dense_pairs_run(from, SPK_PAIR_RUN, weights, *starts++, sum);
    }
    weights = spk_dense_pairs_run(from, n, weights, *starts, sum);
    SPK_UNROLL(4)
    for (uint32_t k = 0; k < 8; k += 2) {
        sums[k] = sum[k] - (sum[k + 1] << 16);
        sums[k + 1] = sum[k + 1];
    }
    return weights;
}

// weights: (outputs / 8, inputs) words. scratch: (inputs / 32 rounded up,) words.
SPK_INLINE void spk_fully_connected_by_pairs(const struct spk_fully_connected *of,
                                             enum spk_connected_rounding rounding, bool odd,
                                             const int8_t *input, uint32_t *scratch,
                                             int8_t *output) {
    const struct spk_fully_connected copy = *of; // the compiler sees that no output changes it
    const struct spk_fully_connected *c = &copy;
    const uint32_t *weights = c->weights;
    uint32_t more = 0;
    for (uint32_t at = 0; at < c->inputs; at += SPK_PAIR_RUN) {
        const uint32_t end = spk_min_u32(at + SPK_PAIR_RUN, c->inputs);
        int32_t total = 0;
        for (uint32_t i = at; i < end; i++) {
            total += input[i];
        }
        scratch[at / SPK_PAIR_RUN] = spk_pair_start(total);
        more += spk_pair_inputs(odd, total);
    }
    for (uint32_t o = 0; o < c->outputs; o += 8) {
        uint32_t sum[8];
        int32_t whole[8];
        weights = spk_dense_pairs_sums(input, c->inputs, weights, scratch, sum);
        for (uint32_t k = 0; k < 8; k++) {
            whole[k] = (int32_t)((odd ? 2 : 1) * sum[k] + more);
        }
        spk_fully_connected_store(c, rounding, o, 8, whole, output);
    }
}

// The variants: spk_fully_connected_pairs_GRID_ROUNDING.
#define SPK_FULLY_CONNECTED_PAIRS(grid, odd, name, rounding)                                       \
    SPK_SHARED void spk_fully_connected_pairs_##grid##_##name(const struct spk_fully_connected *c, \
                                                              const int8_t *input,                 \
                                                              uint32_t *scratch, int8_t *output) { \
        spk_fully_connected_by_pairs(c, rounding, odd, input, scratch, output);                    \
    }
#define SPK_FULLY_CONNECTED_PAIRS_ROUNDINGS(grid, odd)                                             \
    SPK_FULLY_CONNECTED_PAIRS(grid, odd, once, SPK_ONCE_NEAR)                                      \
    SPK_FULLY_CONNECTED_PAIRS(grid, odd, twice, SPK_TWICE_NEAR)                                    \
    SPK_FULLY_CONNECTED_PAIRS(grid, odd, wide, SPK_WIDE)

SPK_FULLY_CONNECTED_PAIRS_ROUNDINGS(4, false)
SPK_FULLY_CONNECTED_PAIRS_ROUNDINGS(4_odd, true)

#endif
