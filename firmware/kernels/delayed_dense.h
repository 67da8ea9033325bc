// Fully connected layers on spikes, a delay a synapse.
// Golden twin: pytools/spikelet/graph/ops/delayed_dense.py.
// SPDX-License-Identifier: Apache-2.0
//
// A synapse is one number: the weight in the lower bits, two's complement, and the delay above.
#ifndef SPK_DELAYED_DENSE_H
#define SPK_DELAYED_DENSE_H

#include "kernels/fixed.h"

struct spk_delayed_dense {
    const void *synapses; // (inputs, outputs) uint8, or uint16 (long_synapses)
    const int32_t *bias;  // (outputs,), or 0
    uint16_t inputs;
    uint16_t outputs;
    uint16_t rows; // the longest delay and 1
    uint8_t weight_bits;
    bool long_synapses;
    bool wide; // sums are int32, else int16
};

SPK_INLINE uint32_t spk_synapse(const struct spk_delayed_dense *c, uint32_t at) {
    return c->long_synapses ? ((const uint16_t *)c->synapses)[at]
                            : ((const uint8_t *)c->synapses)[at];
}

SPK_INLINE int32_t spk_synapse_weight(const struct spk_delayed_dense *c, uint32_t synapse) {
    return (int32_t)(synapse << (32 - c->weight_bits)) >> (32 - c->weight_bits);
}

// spikes: (inputs,) bits; ring: (rows, outputs) sums to come; *at: the row of now; sums:
// (outputs,). A host may have written any *at.
SPK_INLINE void spk_delayed_dense_scatter(const struct spk_delayed_dense *c, const uint32_t *spikes,
                                          void *ring, int32_t *at, void *sums) {
    const uint32_t outputs = c->outputs;
    const uint32_t size = c->rows * outputs;
    const uint32_t now = (uint32_t)*at < c->rows ? (uint32_t)*at : 0;
    const uint32_t here = now * outputs;
    for (uint32_t i = 0; i < c->inputs; i += 32) {
        for (uint32_t bits = spikes[i / 32]; bits != 0;) {
            const uint32_t column = (i + spk_take_lowest(&bits)) * outputs;
            for (uint32_t o = 0; o < outputs; o++) {
                const uint32_t synapse = spk_synapse(c, column + o);
                uint32_t to = here + o + (synapse >> c->weight_bits) * outputs;
                to = to < size ? to : to - size;
                const int32_t weight = spk_synapse_weight(c, synapse);
                spk_store(ring, to, c->wide, spk_add(spk_load(ring, to, c->wide), weight));
            }
        }
    }
    for (uint32_t o = 0; o < outputs; o++) {
        const int32_t bias = c->bias ? c->bias[o] : 0;
        spk_store(sums, o, c->wide, spk_add(spk_load(ring, here + o, c->wide), bias));
        spk_store(ring, here + o, c->wide, 0);
    }
    *at = (int32_t)(now + 1 < c->rows ? now + 1 : 0);
}

// Moves a history of `rows` steps on by one; answers whether it has a spike that a synapse may see.
SPK_INLINE bool spk_history_step(uint32_t *history, uint32_t rows, uint32_t spike) {
    const uint32_t words = (rows + 31) / 32;
    const uint32_t last = 0xFFFFFFFFu >> (32 * words - rows);
    uint32_t any = 0;
    for (uint32_t k = 0; k < words; k++) {
        const uint32_t out = history[k] >> 31;
        history[k] = history[k] << 1 | spike;
        any |= k + 1 < words ? history[k] : history[k] & last;
        spike = out;
    }
    return any != 0;
}

// spikes: (inputs,) bits; history: (inputs, words) of bits, that of now the lowest; sums:
// (outputs,).
SPK_INLINE void spk_delayed_dense_gather(const struct spk_delayed_dense *c, const uint32_t *spikes,
                                         uint32_t *history, void *sums) {
    const uint32_t words = (c->rows + 31u) / 32;
    for (uint32_t o = 0; o < c->outputs; o++) {
        spk_store(sums, o, c->wide, c->bias ? c->bias[o] : 0);
    }
    for (uint32_t i = 0; i < c->inputs; i++, history += words) {
        if (!spk_history_step(history, c->rows, spikes[i / 32] >> (i % 32) & 1)) {
            continue;
        }
        for (uint32_t o = 0; o < c->outputs; o++) {
            const uint32_t synapse = spk_synapse(c, i * c->outputs + o);
            const uint32_t delay = synapse >> c->weight_bits;
            const uint32_t word = words == 1 ? history[0] : history[delay / 32];
            const int32_t seen = -(int32_t)(word >> (delay % 32) & 1);
            spk_store(sums, o, c->wide,
                      spk_add(spk_load(sums, o, c->wide), spk_synapse_weight(c, synapse) & seen));
        }
    }
}

#endif
