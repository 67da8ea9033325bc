// Fully connected layers. Golden twin: pytools/spikelet/graph/ops/dense.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_DENSE_H
#define SPK_DENSE_H

#include "kernels/fixed.h"

// Spikes in, int16 sums out, four weights with one load and two adds.
//
// A column holds the weights from one input to all outputs, four to a word, each as weight + 128 so
// that lanes never borrow. Byte 0 and 2 belong to outputs 4j and 4j+1, byte 1 and 3 to 4j+2 and
// 4j+3. `even` sums bytes 0 and 2 in two 16-bit lanes. `shifted` sums word >> 8, that is bytes 1 and
// 3 in lanes plus 2^8 times byte 2; what `even` knows of byte 2 is taken off once, at the end.
//
// A lane holds 0x8000 + the sum so far - 128 for every column still to come. It stays in 16 bits
// when every partial sum is within +-24576, which the exporter proves, and at most 64 columns are
// added in one go.
enum { SPK_LANE_COLUMNS = 64, SPK_LANE_WORDS = 8 };
#define SPK_LANE_ZERO 0x80008000u
#define SPK_LANE_OFFSET 0x00800080u
#define SPK_LANE_MASK 0x00FF00FFu

// Adds `count` columns to `words` (a constant, at most SPK_LANE_WORDS) words of outputs.
// columns: (count,) pointers to the first word; start: (2 * words,) sums to start from as pairs of
// int16, or 0 for none; sums: (2 * words,) pairs of int16.
SPK_INLINE void spk_dense_lanes(const uint32_t *const *columns, uint32_t count, uint32_t first,
                                uint32_t words, const uint32_t *start, uint32_t *sums) {
    uint32_t even[SPK_LANE_WORDS];
    uint32_t shifted[SPK_LANE_WORDS];
    const uint32_t offset = count * SPK_LANE_OFFSET;
    SPK_UNROLL(8)
    for (uint32_t j = 0; j < words; j++) {
        even[j] = (start ? start[2 * j] ^ SPK_LANE_ZERO : SPK_LANE_ZERO) - offset;
        shifted[j] = (start ? start[2 * j + 1] ^ SPK_LANE_ZERO : SPK_LANE_ZERO) - offset;
        shifted[j] += (even[j] >> 16) << 8;
    }
    for (const uint32_t *const *end = columns + count; columns < end; columns++) {
        const uint32_t *column = *columns + first;
        SPK_OPAQUE(column);
        SPK_UNROLL(8)
        for (uint32_t j = 0; j < words; j++) {
            const uint32_t w = column[j];
            even[j] += w & SPK_LANE_MASK;
            shifted[j] += w >> 8;
            SPK_IN_ORDER();
        }
    }
    SPK_UNROLL(8)
    for (uint32_t j = 0; j < words; j++) {
        sums[2 * j] = even[j] ^ SPK_LANE_ZERO;
        sums[2 * j + 1] = (shifted[j] - ((even[j] >> 16) << 8)) ^ SPK_LANE_ZERO;
    }
}

// Appends the columns of the set bits; answers the new count. base: column of bit 0.
static __attribute__((noinline, unused)) uint32_t
spk_dense_columns(uint32_t bits, const uint32_t *base, uint32_t words, const uint32_t **columns,
                  uint32_t count) {
    for (; bits != 0; bits &= bits - 1) {
        columns[count++] = base + spk_lowest_bit(bits) * words;
    }
    return count;
}

// spikes: (inputs,) bits; weights: (inputs, words); start: (2 * words,) pairs of int16 bias, or 0;
// sums: (2 * words,) pairs of int16, the outputs in order.
SPK_INLINE void spk_dense_spikes_s16(const uint32_t *spikes, uint32_t inputs,
                                     const uint32_t *weights, uint32_t words,
                                     const uint32_t *start, uint32_t *sums) {
    const uint32_t *columns[SPK_LANE_COLUMNS];
    const uint32_t input_words = (inputs + 31) / 32;
    const uint32_t rest = words % SPK_LANE_WORDS;
    uint32_t count = 0;
    for (uint32_t i = 0; i < input_words; i++) {
        count = spk_dense_columns(spikes[i], weights + i * 32 * words, words, columns, count);
        if (count <= SPK_LANE_COLUMNS - 32 && i + 1 < input_words) {
            continue; // room for another 32 columns
        }
        uint32_t first = 0;
        for (; first + SPK_LANE_WORDS <= words; first += SPK_LANE_WORDS) {
            spk_dense_lanes(columns, count, first, SPK_LANE_WORDS, start ? start + 2 * first : 0,
                            sums + 2 * first);
        }
        if (rest != 0) {
            spk_dense_lanes(columns, count, first, rest, start ? start + 2 * first : 0,
                            sums + 2 * first);
        }
        start = sums;
        count = 0;
    }
}

// Spikes in, int32 sums out. weights: (inputs, outputs) int8; bias: (outputs,) or 0.
SPK_INLINE void spk_dense_spikes_s32(const uint32_t *spikes, uint32_t inputs,
                                     const int8_t *weights, uint32_t outputs, const int32_t *bias,
                                     int32_t *sums) {
    for (uint32_t o = 0; o < outputs; o++) {
        sums[o] = bias ? bias[o] : 0;
    }
    for (uint32_t i = 0; i < (inputs + 31) / 32; i++) {
        for (uint32_t bits = spikes[i]; bits != 0; bits &= bits - 1) {
            const int8_t *column = weights + (i * 32 + spk_lowest_bit(bits)) * outputs;
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
