// Neurons with an alpha-shaped synapse. Golden twin: pytools/spikelet/graph/ops/alpha.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_ALPHA_H
#define SPK_ALPHA_H

#include "kernels/lif.h"

struct spk_alpha {
    uint32_t n;           // neurons
    uint32_t leak_bits;   // 15 to 31, of all factors
    uint8_t rounding;     // enum spk_rounding
    bool inclusive;       // v == threshold fires
    uint8_t reset;        // enum spk_reset, not to a value
    uint32_t input_shift; // the input enters as input << input_shift
    bool input_wide;      // input is int32, else int16
    bool wide;            // states are int32, else int16
    bool exact;           // proved: no state leaves its type
    bool small;           // proved: states stay below 2^15 in size; 15 leak_bits
    uint32_t leak;        // of the excitation, where leaks is 0
    const void *leaks;    // (leaks_each,), see spk_leak_factor(), or 0
    uint32_t leaks_each;
    uint32_t inhibitory_leak; // of the inhibition
    const void *inhibitory_leaks;
    uint32_t inhibitory_leaks_each;
    uint32_t part_leak; // of the inhibition, that a reset by subtraction gives the membrane
    const void *part_leaks;
    uint32_t part_leaks_each;
    const int32_t *threshold; // (threshold_each,), or 0 when all are threshold_all
    uint32_t threshold_each;
    int32_t threshold_all;
    const int32_t *amount; // (amount_each,) that a reset by subtraction takes off, or 0
    uint32_t amount_each;
    int32_t amount_all;
};

SPK_INLINE int32_t spk_alpha_clip(const struct spk_alpha *c, int64_t v, uint32_t *saturations) {
    return c->exact ? (int32_t)v : spk_saturate(v, c->wide, saturations);
}

SPK_INLINE int32_t spk_alpha_of(const int32_t *values, uint32_t each, int32_t all, uint32_t i) {
    return values ? values[i % each] : all;
}

// input: (n,) int16 or int32; membrane, excitation, inhibition: (n,); spikes: (n,) bits.
SPK_INLINE void spk_alpha(const struct spk_alpha *c, const void *input, void *membrane,
                          void *excitation, void *inhibition, uint32_t *spikes,
                          uint32_t *saturations) {
    spk_clear(spikes, (c->n + 31) / 32 * 4);
    for (uint32_t i = 0; i < c->n; i++) {
        const int32_t threshold =
            spk_alpha_of(c->threshold, c->threshold_each, c->threshold_all, i);
        const int32_t held = spk_load(membrane, i, c->wide);
        const int32_t h = spk_load(inhibition, i, c->wide);
        const bool reset =
            c->reset != SPK_RESET_NONE && (c->inclusive ? held >= threshold : held > threshold);
        const int32_t kept_e =
            spk_leak(spk_load(excitation, i, c->wide),
                     spk_leak_factor(c->leak, c->leaks, c->leaks_each, c->leak_bits, i, c->n),
                     c->leak_bits, c->rounding, c->small);
        const int32_t kept_h =
            spk_leak(h,
                     spk_leak_factor(c->inhibitory_leak, c->inhibitory_leaks,
                                     c->inhibitory_leaks_each, c->leak_bits, i, c->n),
                     c->leak_bits, c->rounding, c->small);
        const int32_t x = (int32_t)((uint32_t)spk_load(input, i, c->input_wide) << c->input_shift);
        int64_t v = (int64_t)kept_e + kept_h;
        int64_t e = (int64_t)kept_e + x;
        int64_t new_h = (int64_t)kept_h - x;
        if (reset && c->reset == SPK_RESET_ZERO) {
            v = e = new_h = 0;
        } else if (reset) {
            v += spk_leak(h,
                          spk_leak_factor(c->part_leak, c->part_leaks, c->part_leaks_each,
                                          c->leak_bits, i, c->n),
                          c->leak_bits, c->rounding, c->small);
            e -= spk_alpha_of(c->amount, c->amount_each, c->amount_all, i);
            new_h = 0;
        }
        const int32_t next = spk_alpha_clip(c, v, saturations);
        spk_store(membrane, i, c->wide, next);
        spk_store(excitation, i, c->wide, spk_alpha_clip(c, e, saturations));
        spk_store(inhibition, i, c->wide, spk_alpha_clip(c, new_h, saturations));
        if (c->inclusive ? next >= threshold : next > threshold) {
            spikes[i / 32] |= 1u << i % 32;
        }
    }
}

#endif
