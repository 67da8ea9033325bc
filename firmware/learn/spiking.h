// Spiking layers that learn: their sums, and what they keep of each time step. Golden twins:
// pytools/spikelet/learn/layers/spiking_dense.py and spiking_record.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LEARN_SPIKING_H
#define SPK_LEARN_SPIKING_H

#include "kernels/fixed.h"

struct spk_spiking_dense {
    uint32_t inputs;
    uint32_t outputs;
    bool learned; // weights are int16, their high bytes the codes; else they are codes
    bool wide;    // sums are int32, else int16
};

// bias: (outputs,) in 256ths, or 0; sums: (outputs,).
SPK_INLINE void spk_spiking_begin(const struct spk_spiking_dense *c, const int32_t *bias,
                                  void *sums) {
    for (uint32_t o = 0; o < c->outputs; o++) {
        spk_store(sums, o, c->wide, bias ? (bias[o] + 128) >> 8 : 0);
    }
}

// Adds `times` the weights from input i to all outputs; weights: (inputs, outputs).
SPK_INLINE void spk_spiking_column(const struct spk_spiking_dense *c, const void *weights,
                                   uint32_t i, int32_t times, void *sums) {
    const uint32_t stride = c->learned ? 2 : 1;
    // All targets are little-endian: the high byte of a weight is its second one.
    const int8_t *code = (const int8_t *)weights + i * c->outputs * stride + (stride - 1);
    SPK_UNROLL(4)
    for (uint32_t o = 0; o < c->outputs; o++) {
        const int32_t more = code[o * stride] * times;
        spk_store(sums, o, c->wide, spk_load(sums, o, c->wide) + more);
    }
}

// Sums of `count` outputs, a constant, from `first` on; active: inputs that spiked.
SPK_INLINE void spk_spiking_outputs(const struct spk_spiking_dense *c, const uint16_t *active,
                                    const uint16_t *end, const void *weights, const int32_t *bias,
                                    uint32_t first, uint32_t count, void *sums) {
    const uint32_t stride = c->learned ? 2 : 1;
    const int8_t *base = (const int8_t *)weights + first * stride + (stride - 1);
    int32_t held[8];
    SPK_UNROLL(8)
    for (uint32_t k = 0; k < count; k++) {
        held[k] = bias ? (bias[first + k] + 128) >> 8 : 0;
    }
    for (; active < end; active++) {
        const int8_t *code = base + *active * (c->outputs * stride);
        SPK_OPAQUE(code);
        SPK_UNROLL(8)
        for (uint32_t k = 0; k < count; k++) {
            held[k] += code[k * stride];
        }
    }
    SPK_UNROLL(8)
    for (uint32_t k = 0; k < count; k++) {
        spk_store(sums, first + k, c->wide, held[k]);
    }
}

// spikes: (inputs,) bits; list: (inputs,) to work in.
SPK_INLINE void spk_spiking_dense_bit(const struct spk_spiking_dense *c, const uint32_t *spikes,
                                      const void *weights, const int32_t *bias, uint16_t *list,
                                      void *sums) {
    uint16_t *end = list;
    for (uint32_t word = 0; word < (c->inputs + 31) / 32; word++) {
        for (uint32_t bits = spikes[word]; bits != 0;) {
            *end++ = (uint16_t)(32 * word + spk_take_lowest(&bits));
        }
    }
    const uint32_t rest = c->outputs % 8;
    uint32_t first = 0;
    for (; first + 8 <= c->outputs; first += 8) {
        spk_spiking_outputs(c, list, end, weights, bias, first, 8, sums);
    }
    if (rest != 0) {
        spk_spiking_outputs(c, list, end, weights, bias, first, rest, sums);
    }
}

// x: (inputs,)
#define SPK_SPIKING_DENSE(name, type)                                                              \
    SPK_INLINE void spk_spiking_dense_##name(const struct spk_spiking_dense *c, const type *x,     \
                                             const void *weights, const int32_t *bias,             \
                                             void *sums) {                                         \
        spk_spiking_begin(c, bias, sums);                                                          \
        for (uint32_t i = 0; i < c->inputs; i++) {                                                 \
            if (x[i] != 0) {                                                                       \
                spk_spiking_column(c, weights, i, x[i], sums);                                     \
            }                                                                                      \
        }                                                                                          \
    }
SPK_SPIKING_DENSE(u8, uint8_t)
SPK_SPIKING_DENSE(i8, int8_t)
#undef SPK_SPIKING_DENSE

// rows: (steps, words); row `t` becomes the spikes, (words,) of bits.
SPK_INLINE void spk_spike_history(const uint32_t *spikes, uint32_t words, uint32_t t,
                                  uint32_t *rows) {
    for (uint32_t i = 0; i < words; i++) {
        rows[t * words + i] = spikes[i];
    }
}

struct spk_surrogate {
    uint32_t n;
    bool wide;                // membranes are int32, else int16
    const int32_t *threshold; // (n,)
    const int32_t *width;     // (n,) how far from it the derivative is not 0
    const uint32_t *slope;    // (n,) 255 * 2^23 / width
};

// membrane: (n,); spikes: (n,) bits of neurons that have taken the threshold off, or 0;
// rows: (steps, n), of which row `t` is written.
SPK_INLINE void spk_surrogate(const struct spk_surrogate *c, const void *membrane,
                              const uint32_t *spikes, uint32_t t, uint8_t *rows) {
    rows += t * c->n;
    for (uint32_t i = 0; i < c->n; i++) {
        int64_t v = spk_load(membrane, i, c->wide);
        if (spikes && (spikes[i / 32] >> i % 32 & 1) != 0) {
            v += c->threshold[i];
        }
        const int64_t off = v - c->threshold[i];
        const int64_t distance = off < 0 ? -off : off;
        uint32_t value = 0;
        if (distance < c->width[i]) {
            value = 255 - (uint32_t)(spk_product((uint32_t)distance, c->slope[i]) >> 23);
        }
        rows[i] = (uint8_t)value;
    }
}

#endif
