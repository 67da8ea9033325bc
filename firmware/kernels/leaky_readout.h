// Leaky integrators without a spike. Golden twin: pytools/spikelet/graph/ops/leaky_readout.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LEAKY_READOUT_H
#define SPK_LEAKY_READOUT_H

#include "kernels/fixed.h"

struct spk_leaky_readout {
    uint32_t n;        // neurons
    uint32_t leak;     // 2^leak_bits keeps all; where leaks is 0
    const void *leaks; // (leaks_each,), see spk_leak_factor(), or 0
    uint32_t leaks_each;
    uint32_t leak_bits;   // 15 to 31
    uint8_t rounding;     // enum spk_rounding: of the leak
    bool input_code;      // input is int8
    uint32_t input_shift; // the input enters as input << input_shift
    bool input_wide;      // input is int32, else int16
    bool wide;            // membrane is int32, else int16
    bool exact;           // proved: no membrane leaves its type
    bool small;           // proved: the membrane stays below 2^15 in size; 15 leak_bits
};

#if defined(__ARM_FEATURE_DSP)
#include "kernels/arch/halves_dsp.h"

// Membranes and input of 16 bits, one leak, proved not to saturate: two in a word, all but an odd
// last one. Answers how many are done.
SPK_INLINE uint32_t spk_leaky_readout_pairs(const struct spk_leaky_readout *c,
                                            const uint32_t *input, uint32_t *membrane) {
    const bool leaks = c->leak == 1u << 15 || c->leak % 2 == 1 || c->rounding != SPK_TOWARD_ZERO;
    if (!leaks || c->leaks || !c->exact || !c->small || c->wide || c->input_wide || c->input_code ||
        c->input_shift != 0) {
        return 0;
    }
    uint32_t ones = SPK_HALVES_ONES;
    SPK_OPAQUE(ones);
    SPK_UNROLL(4)
    for (uint32_t i = 0; i < c->n / 2; i++) {
        membrane[i] = spk_halves_leak(c->leak, c->rounding, ones, membrane[i], input[i]);
    }
    return c->n / 2 * 2;
}
#else
SPK_INLINE uint32_t spk_leaky_readout_pairs(const struct spk_leaky_readout *c, const void *input,
                                            void *membrane) {
    (void)c, (void)input, (void)membrane;
    return 0;
}
#endif

// input: (n,) int16, int32 or int8; membrane: (n,) int16 or int32.
SPK_INLINE void spk_leaky_readout(const struct spk_leaky_readout *c, const void *input,
                                  void *membrane, uint32_t *saturations) {
    for (uint32_t i = spk_leaky_readout_pairs(c, input, membrane); i < c->n; i++) {
        const int32_t v = spk_load(membrane, i, c->wide);
        const uint32_t factor =
            spk_leak_factor(c->leak, c->leaks, c->leaks_each, c->leak_bits, i, c->n);
        const int32_t kept = spk_leak(v, factor, c->leak_bits, c->rounding, c->small);
        const int32_t x =
            c->input_code ? ((const int8_t *)input)[i] : spk_load(input, i, c->input_wide);
        const int32_t gained = (int32_t)((uint32_t)x << c->input_shift);
        spk_store(membrane, i, c->wide,
                  c->exact ? spk_add(kept, gained)
                           : spk_saturate((int64_t)kept + gained, c->wide, saturations));
    }
}

#endif
