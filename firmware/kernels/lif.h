// Leaky integrate-and-fire neurons. Golden twin: pytools/spikelet/graph/ops/lif.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LIF_H
#define SPK_LIF_H

#include "kernels/fixed.h"

enum spk_reset { SPK_RESET_NONE, SPK_RESET_ZERO, SPK_RESET_VALUE, SPK_RESET_SUBTRACT };

// When a spike resets the membrane: in its own step; in the next step, from the stored membrane;
// or in the next step after that step's input, which a reset to zero or to a value loses.
enum spk_timing { SPK_SAME_STEP, SPK_NEXT_STEP, SPK_NEXT_STEP_INPUT_LOST };

struct spk_lif {
    uint32_t n;           // neurons
    uint32_t leak;        // 2^leak_bits keeps all; where leaks is 0
    uint32_t leak_bits;   // 15 to 31
    uint8_t rounding;     // enum spk_rounding: of the leak
    bool inclusive;       // v == threshold fires
    uint8_t reset;        // enum spk_reset
    uint8_t timing;       // enum spk_timing
    uint32_t input_shift; // the input enters as input << input_shift
    uint32_t refractory;  // steps without input after a spike
    int32_t initial;      // membrane at start
    bool input_wide;      // input is int32, else int16
    bool wide;            // membrane, threshold and reset value are int32, else int16
    bool exact;           // proved: no membrane leaves its type
    bool small;           // proved: the stored membrane stays below 2^15 in size; 15 leak_bits
    // Neuron i has element i mod `each` of an array.
    const void *threshold; // (threshold_each,), or 0 when all are threshold_all
    uint32_t threshold_each;
    int32_t threshold_all;
    const void *reset_value; // (reset_value_each,), or 0 when all are reset_all
    uint32_t reset_value_each;
    int32_t reset_all;
    const int32_t *drift; // (drift_each,), or 0 when all are drift_all
    uint32_t drift_each;
    int32_t drift_all;
    const void *initials; // (initials_each,), or 0 when all are initial
    uint32_t initials_each;
    const void *leaks; // (leaks_each,), see spk_leak_factor(), or 0
    uint32_t leaks_each;
};

SPK_INLINE uint32_t spk_lif_index(const struct spk_lif *c, uint32_t i, uint32_t each) {
    return each == c->n ? i : i % each;
}

// One neuron: the new membrane in *v, whether it spikes.
SPK_INLINE bool spk_lif_neuron(const struct spk_lif *c, int32_t *v, int32_t input, uint32_t i,
                               uint32_t *saturations) {
    const int32_t threshold =
        c->threshold ? spk_load(c->threshold, spk_lif_index(c, i, c->threshold_each), c->wide)
                     : c->threshold_all;
    const int32_t value =
        c->reset != SPK_RESET_VALUE ? 0
        : c->reset_value
            ? spk_load(c->reset_value, spk_lif_index(c, i, c->reset_value_each), c->wide)
            : c->reset_all;
    const int32_t held = *v;
    const bool late = c->timing != SPK_SAME_STEP && c->reset != SPK_RESET_NONE &&
                      (c->inclusive ? held >= threshold : held > threshold);
    const bool to_value = c->reset == SPK_RESET_ZERO || c->reset == SPK_RESET_VALUE;
    const int32_t from = late && to_value && c->timing == SPK_NEXT_STEP ? value : held;
    const int32_t kept =
        spk_leak(from, spk_leak_factor(c->leak, c->leaks, c->leaks_each, c->leak_bits, i, c->n),
                 c->leak_bits, c->rounding, c->small);
    const int32_t drift = c->drift ? c->drift[spk_lif_index(c, i, c->drift_each)] : c->drift_all;
    const int32_t gained = spk_add((int32_t)((uint32_t)input << c->input_shift), drift);
    int32_t next;
    if (c->exact) {
        next = spk_add(kept, gained);
        if (late && c->reset == SPK_RESET_SUBTRACT) {
            next = spk_add(next, -threshold);
        }
        if (late && to_value && c->timing == SPK_NEXT_STEP_INPUT_LOST) {
            next = value;
        }
    } else {
        int64_t sum = (int64_t)kept + gained;
        if (late && c->reset == SPK_RESET_SUBTRACT) {
            sum -= threshold;
        }
        if (late && to_value && c->timing == SPK_NEXT_STEP_INPUT_LOST) {
            sum = value;
        }
        next = spk_saturate(sum, c->wide, saturations);
    }
    const bool spike = c->inclusive ? next >= threshold : next > threshold;
    if (spike && c->timing == SPK_SAME_STEP) {
        if (c->reset == SPK_RESET_SUBTRACT) {
            next -= threshold;
        } else if (to_value) {
            next = value;
        }
    }
    *v = next;
    return spike;
}

// Neurons first..first + count; answers their spikes from bit 0 up.
SPK_INLINE uint32_t spk_lif_group(const struct spk_lif *c, uint32_t first, uint32_t count,
                                  const void *input, void *membrane, uint8_t *waiting,
                                  uint32_t *saturations) {
    uint32_t bits = 0;
    SPK_UNROLL(8)
    for (uint32_t k = 0; k < count; k++) {
        const uint32_t i = first + k;
        if (c->refractory != 0 && waiting[i] != 0) {
            waiting[i]--;
            continue;
        }
        int32_t v = spk_load(membrane, i, c->wide);
        if (spk_lif_neuron(c, &v, spk_load(input, i, c->input_wide), i, saturations)) {
            bits |= 1u << k;
            if (c->refractory != 0) {
                waiting[i] = (uint8_t)c->refractory;
            }
        }
        spk_store(membrane, i, c->wide, v);
    }
    return bits;
}

// "Quick": membranes and input of 16 bits, proved not to saturate, of neurons that differ in their
// thresholds alone. Sixteen of them are worked on in one go.
SPK_INLINE bool spk_lif_is_quick(const struct spk_lif *c) {
    const bool same = !c->leaks && !c->drift && c->drift_all == 0 &&
                      (c->reset != SPK_RESET_VALUE || !c->reset_value) &&
                      (!c->threshold || c->threshold_each == c->n);
    const bool leaks = c->leak == 1u << 15 || c->leak % 2 == 1 || c->rounding != SPK_TOWARD_ZERO;
    return same && leaks && c->exact && c->small && c->refractory == 0 && !c->wide &&
           !c->input_wide;
}

#if defined(__ARM_FEATURE_DSP)
#define SPK_LIF_QUICK
#include "kernels/arch/lif_dsp.h"
#elif defined(__riscv_mul) && __riscv_xlen == 32
#define SPK_LIF_QUICK
#include "kernels/arch/lif_rv32.h"
#elif defined(__ARM_ARCH_ISA_THUMB) && __ARM_ARCH_ISA_THUMB == 1 && defined(__OPTIMIZE__)
#define SPK_LIF_QUICK
#include "kernels/arch/lif_thumb1.h"
#endif

#if defined(SPK_LIF_QUICK)
SPK_INLINE void spk_lif_quick(const struct spk_lif *c, const int16_t *input, int16_t *membrane,
                              uint32_t *spikes, uint32_t *saturations) {
    const int16_t *const thresholds = c->threshold;
    uint16_t *halves = (uint16_t *)(void *)spikes;
    const uint32_t even = c->n / 2 * 2;
    uint32_t i = 0;
    for (; i + 16 <= c->n; i += 16) {
        *halves++ =
            (uint16_t)spk_lif_some(c, 16, input + i, membrane + i, thresholds ? thresholds + i : 0);
    }
    if (c->n % 16 != 0) {
        uint32_t bits = 0;
        if (i < even) {
            bits = spk_lif_some(c, even % 16, input + i, membrane + i,
                                thresholds ? thresholds + i : 0);
        }
        if (c->n % 2 != 0) {
            bits |= spk_lif_group(c, even, 1, input, membrane, 0, saturations) << even % 16;
        }
        *halves++ = (uint16_t)bits;
    }
    if ((c->n + 15) / 16 % 2 != 0) {
        *halves = 0;
    }
}
#endif

// input: (n,) int16 or int32; membrane: (n,); waiting: (n,) refractory steps left, or 0;
// spikes: (n,) bits.
SPK_INLINE void spk_lif(const struct spk_lif *c, const void *input, void *membrane,
                        uint8_t *waiting, uint32_t *spikes, uint32_t *saturations) {
#if defined(SPK_LIF_QUICK)
    if (spk_lif_is_quick(c) && spk_lif_suits(c)) {
        spk_lif_quick(c, input, membrane, spikes, saturations);
        return;
    }
#endif
    const uint32_t group = c->n < 32 ? 4 : 8; // neurons that are unrolled
    for (uint32_t base = 0; base < c->n; base += 32) {
        const uint32_t count = spk_min_u32(32, c->n - base);
        uint32_t bits = 0;
        uint32_t k = 0;
        for (; k + group <= count; k += group) {
            bits |= spk_lif_group(c, base + k, group, input, membrane, waiting, saturations) << k;
        }
        if (c->n % group != 0 && k < count) {
            bits |= spk_lif_group(c, base + k, c->n % group, input, membrane, waiting, saturations)
                    << k;
        }
        spikes[base / 32] = bits;
    }
}

SPK_INLINE void spk_lif_start(const struct spk_lif *c, void *membrane, uint8_t *waiting) {
    for (uint32_t i = 0; i < c->n; i++) {
        const int32_t initial =
            c->initials ? spk_load(c->initials, spk_lif_index(c, i, c->initials_each), c->wide)
                        : c->initial;
        spk_store(membrane, i, c->wide, initial);
        if (c->refractory != 0) {
            waiting[i] = 0;
        }
    }
}

#endif
