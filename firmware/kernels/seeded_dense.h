// A dense layer whose weights are signs made of a seed.
// Golden twin: pytools/spikelet/graph/ops/seeded_dense.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_SEEDED_DENSE_H
#define SPK_SEEDED_DENSE_H

#include "kernels/fixed.h"

// A word of weights is made of its number alone, so that a silent input costs nothing, and outputs
// are worked on in blocks whose sums stay in registers.
//
// With S the sum over the inputs whose sign is +1, and T that over all, a sum is 2 S - T: a bit of
// the word is added or not. (word >> k) & 0x01010101 is the bits of outputs k, k + 8, k + 16 and
// k + 24, which a word of four counts takes with one addition; of values two products with
// (word >> k) & 0x00010001 lie in a word, the lower one borrowing from the upper.
struct spk_seeded_dense {
    uint32_t inputs;
    uint32_t outputs;
    uint32_t words;   // of an input
    uint32_t start;   // number of the generator before its first word
    int32_t size;     // of a weight
    int32_t zero;     // code of 0 of the values
    uint32_t at_once; // values whose sums fit 16 bits
    bool is_signed;   // values are int8, else uint8
    bool wide;        // sums are int32, else int16
};

enum {
    SPK_SEEDED_SPIKES = 64, // that are listed at most, and fit 8 bits
#if defined(__riscv) && !defined(__riscv_e)
    SPK_SEEDED_LANES = 16, // of 16 words with two sums each, how many stay in registers
#else
    SPK_SEEDED_LANES = 8,
#endif
};

// Makes sum o, or adds to it where it is begun, `times` weights.
SPK_INLINE void spk_seeded_put(const struct spk_seeded_dense *c, bool begun, uint32_t o,
                               int32_t times, void *sums) {
    const int32_t part = (int32_t)((uint32_t)times * (uint32_t)c->size);
    spk_store(sums, o, c->wide, begun ? spk_add(spk_load(sums, o, c->wide), part) : part);
}

SPK_INLINE int32_t spk_seeded_value(const struct spk_seeded_dense *c, const void *values,
                                    uint32_t i) {
    return (c->is_signed ? ((const int8_t *)values)[i] : ((const uint8_t *)values)[i]) - c->zero;
}

// What listed spikes make of 32 outputs, from `first` on.
// numbers: (count,) where their weights begin, less `start`, up to SPK_SEEDED_SPIKES.
SPK_INLINE void spk_seeded_count(const struct spk_seeded_dense *c, const uint32_t *numbers,
                                 uint32_t count, uint32_t first, bool begun, void *sums) {
    uint32_t counts[8] = {0};
    uint32_t ones = 0x01010101u;
    SPK_OPAQUE(ones); // Arm shifts and masks at once, but not with a constant
    const uint32_t base = c->start + (first / 32 + 1) * SPK_GAMMA;
    for (const uint32_t *at = numbers; at != numbers + count; at++) {
        const uint32_t word = spk_mix32(base + *at);
        SPK_UNROLL(8)
        for (uint32_t k = 0; k < 8; k++) {
            counts[k] += word >> k & ones;
            SPK_NOW(counts[k]);
        }
    }
    const uint32_t outputs = spk_min_u32(32, c->outputs - first);
    SPK_UNROLL(8)
    for (uint32_t k = 0; k < 8; k++) {
        uint32_t four = counts[k];
        for (uint32_t o = k; o < outputs; o += 8, four >>= 8) {
            const int32_t times = (int32_t)(2 * (four & 0xFF) - count);
            spk_seeded_put(c, begun, first + o, times, sums);
        }
    }
}

// spikes: (inputs,) bits; sums: (outputs,) int32 (wide) or int16.
SPK_INLINE void spk_seeded_dense_spikes(const struct spk_seeded_dense *c, const uint32_t *spikes,
                                        void *sums) {
    uint32_t numbers[SPK_SEEDED_SPIKES];
    uint32_t count = 0;
    bool begun = false;
    const uint32_t each = c->words * SPK_GAMMA;
    const uint32_t input_words = (c->inputs + 31) / 32;
    for (uint32_t i = 0; i < input_words; i++) {
        for (uint32_t bits = spikes[i]; bits != 0;) {
            numbers[count++] = (32 * i + spk_take_lowest(&bits)) * each;
        }
        // room for 32 more?
        if (count > SPK_SEEDED_SPIKES - 32 || i + 1 == input_words) {
            for (uint32_t first = 0; first < c->outputs; first += 32) {
                spk_seeded_count(c, numbers, count, first, begun, sums);
            }
            begun = true;
            count = 0;
        }
    }
}

// x in the lower lane where bit 0 is set, and in the upper one where bit 16 is.
SPK_INLINE uint32_t spk_seeded_pair(uint32_t bits, uint32_t x) {
#if defined(SPK_ADDS_ONLY)
    return ((0u - (bits & 1)) & x) + ((0u - (bits >> 16)) & x << 16);
#else
    return bits * x;
#endif
}

// What `count` values, from number `from` on, make of 2 * SPK_SEEDED_LANES outputs: `first` and
// those behind it, and the same 16 further on. total: of the values.
SPK_INLINE void spk_seeded_add(const struct spk_seeded_dense *c, const void *values, uint32_t from,
                               uint32_t count, int32_t total, uint32_t first, void *sums) {
    uint32_t lanes[SPK_SEEDED_LANES] = {0};
    uint32_t ones = 0x00010001u;
    SPK_OPAQUE(ones);
    uint32_t each = c->words * SPK_GAMMA;
    SPK_OPAQUE(each); // four instructions of an Arm core add a constant
    uint32_t state = c->start + from * each + (first / 32 + 1) * SPK_GAMMA;
    for (uint32_t i = from; i < from + count; i++, state += each) {
        const uint32_t x = (uint32_t)spk_seeded_value(c, values, i);
        const uint32_t word = spk_mix32(state) >> first % 16;
        SPK_UNROLL(16)
        for (uint32_t k = 0; k < SPK_SEEDED_LANES; k++) {
            lanes[k] += spk_seeded_pair(word >> k & ones, x);
            SPK_NOW(lanes[k]);
        }
    }
    SPK_UNROLL(16)
    for (uint32_t k = 0; k < SPK_SEEDED_LANES; k++) {
        const int32_t lower = (int16_t)(lanes[k] & 0xFFFF);
        const int32_t upper = (int32_t)(lanes[k] - (uint32_t)lower) >> 16;
        // past the last output?
        if (first + k < c->outputs) {
            spk_seeded_put(c, from != 0, first + k, 2 * lower - total, sums);
        }
        if (first + k + 16 < c->outputs) {
            spk_seeded_put(c, from != 0, first + k + 16, 2 * upper - total, sums);
        }
    }
}

// values: (inputs,) int8 or uint8; sums: (outputs,) int32 (wide) or int16.
SPK_INLINE void spk_seeded_dense_values(const struct spk_seeded_dense *c, const void *values,
                                        void *sums) {
    for (uint32_t from = 0; from < c->inputs; from += c->at_once) {
        const uint32_t count = spk_min_u32(c->at_once, c->inputs - from);
        int32_t total = 0;
        for (uint32_t i = from; i < from + count; i++) {
            total += spk_seeded_value(c, values, i);
        }
        for (uint32_t block = 0; block < c->outputs; block += 32) {
            for (uint32_t first = 0; first < 16; first += SPK_SEEDED_LANES) {
                spk_seeded_add(c, values, from, count, total, block + first, sums);
            }
        }
    }
}

SPK_INLINE void spk_seeded_clear(const struct spk_seeded_dense *c, void *sums) {
    for (uint32_t o = 0; o < c->outputs; o++) {
        spk_store(sums, o, c->wide, 0);
    }
}

// Adds an input's `words` signed weights, times x.
SPK_INLINE void spk_seeded_scatter(const struct spk_seeded_dense *c, uint32_t input, int32_t x,
                                   void *sums) {
    uint32_t state = c->start + input * c->words * SPK_GAMMA;
    for (uint32_t j = 0; j < c->words; j++) {
        state += SPK_GAMMA;
        const uint32_t word = spk_mix32(state);
        const uint32_t o = (uint32_t)(spk_product(2 * c->outputs, word >> 1) >> 32);
        spk_store(sums, o, c->wide, spk_add(spk_load(sums, o, c->wide), word & 1 ? x : -x));
    }
}

SPK_INLINE void spk_seeded_scatter_spikes(const struct spk_seeded_dense *c, const uint32_t *spikes,
                                          void *sums) {
    spk_seeded_clear(c, sums);
    for (uint32_t i = 0; i < (c->inputs + 31) / 32; i++) {
        for (uint32_t bits = spikes[i]; bits != 0;) {
            spk_seeded_scatter(c, 32 * i + spk_take_lowest(&bits), c->size, sums);
        }
    }
}

SPK_INLINE void spk_seeded_scatter_values(const struct spk_seeded_dense *c, const void *values,
                                          void *sums) {
    spk_seeded_clear(c, sums);
    for (uint32_t i = 0; i < c->inputs; i++) {
        const int32_t x = spk_seeded_value(c, values, i);
        if (x != 0) {
            spk_seeded_scatter(c, i, x * c->size, sums);
        }
    }
}

#endif
