// Leaky integrate-and-fire neurons. Golden twin: pytools/spikelet/graph/ops/lif.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LIF_H
#define SPK_LIF_H

#include "kernels/fixed.h"

enum spk_reset { SPK_RESET_NONE, SPK_RESET_ZERO, SPK_RESET_VALUE, SPK_RESET_SUBTRACT };

// When a spike resets the membrane: in its own step; in the next step, from the stored membrane;
// in the next step after that step's input, which a reset to zero or to a value loses; or in the
// next step and in its own, which takes off, or gives back, what they differ by.
enum spk_timing { SPK_SAME_STEP, SPK_NEXT_STEP, SPK_NEXT_STEP_INPUT_LOST, SPK_BOTH_STEPS };

// What an adaptation does: raises the threshold, or is taken off the input.
enum spk_adapts { SPK_ADAPTS_NOTHING, SPK_ADAPTS_THRESHOLD, SPK_ADAPTS_INPUT };

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

// What most layers do not have: see spk_lif_switched().
struct spk_lif_switches {
    uint8_t most;             // spikes of a neuron in a step; with 1 they are bits
    bool inhibition;          // only the neuron farthest above its threshold spikes
    uint8_t adapts;           // enum spk_adapts
    uint32_t adaptation_leak; // as leak, with leak_bits
    const void *adaptation_leaks;
    uint32_t adaptation_leaks_each;
    const int32_t *jump; // (jump_each,) that a spike adds, or 0 when all are jump_all
    uint32_t jump_each;
    int32_t jump_all;
    const int32_t *coupling; // (coupling_each,) of the membrane, in 2^-coupling_bits, or 0
    uint32_t coupling_each;
    int32_t coupling_all;
    uint32_t coupling_bits; // 0 to 31
};

static const struct spk_lif_switches spk_lif_plain __attribute__((unused)) = {.most = 1};

SPK_INLINE uint32_t spk_lif_index(const struct spk_lif *c, uint32_t i, uint32_t each) {
    return each == c->n ? i : i % each;
}

// A neuron that has taken in the input of a step.
struct spk_lif_reached {
    int32_t v;
    int32_t threshold;
    int32_t value; // of a reset to a value
    bool late;     // the stored membrane fires
};

// adaptation: of the neuron, or 0.
SPK_INLINE struct spk_lif_reached spk_lif_reach(const struct spk_lif *c,
                                                const struct spk_lif_switches *s, int32_t held,
                                                int32_t input, int32_t adaptation, uint32_t i,
                                                uint32_t *saturations) {
    const int32_t threshold =
        c->threshold ? spk_load(c->threshold, spk_lif_index(c, i, c->threshold_each), c->wide)
                     : c->threshold_all;
    const int32_t value =
        c->reset != SPK_RESET_VALUE ? 0
        : c->reset_value
            ? spk_load(c->reset_value, spk_lif_index(c, i, c->reset_value_each), c->wide)
            : c->reset_all;
    const bool late = c->timing != SPK_SAME_STEP && c->reset != SPK_RESET_NONE &&
                      (c->inclusive ? held >= threshold : held > threshold);
    const bool to_value = c->reset == SPK_RESET_ZERO || c->reset == SPK_RESET_VALUE;
    const bool first = c->timing == SPK_NEXT_STEP || c->timing == SPK_BOTH_STEPS;
    const int32_t from = late && to_value && first ? value : held;
    const int32_t kept =
        spk_leak(from, spk_leak_factor(c->leak, c->leaks, c->leaks_each, c->leak_bits, i, c->n),
                 c->leak_bits, c->rounding, c->small);
    const int32_t drift = c->drift ? c->drift[spk_lif_index(c, i, c->drift_each)] : c->drift_all;
    const int32_t gained = spk_add((int32_t)((uint32_t)input << c->input_shift), drift);
    const int32_t lost = s->adapts == SPK_ADAPTS_INPUT ? adaptation : 0;
    int32_t next;
    if (c->exact) {
        next = spk_add(kept, gained);
        if (s->adapts == SPK_ADAPTS_INPUT) {
            next = (int32_t)((uint32_t)next - (uint32_t)lost);
        }
        if (late && c->reset == SPK_RESET_SUBTRACT) {
            next = spk_add(next, -threshold);
        }
        if (late && to_value && c->timing == SPK_NEXT_STEP_INPUT_LOST) {
            next = value;
        }
    } else {
        int64_t sum = (int64_t)kept + gained - lost;
        if (late && c->reset == SPK_RESET_SUBTRACT) {
            sum -= threshold;
        }
        if (late && to_value && c->timing == SPK_NEXT_STEP_INPUT_LOST) {
            sum = value;
        }
        next = spk_saturate(sum, c->wide, saturations);
    }
    return (struct spk_lif_reached){next, threshold, value, late};
}

// How far a neuron is above the threshold that it has in this step.
SPK_INLINE int64_t spk_lif_over(const struct spk_lif_switches *s,
                                const struct spk_lif_reached *reached, int32_t adaptation) {
    const int64_t raised = s->adapts == SPK_ADAPTS_THRESHOLD ? adaptation : 0;
    return (int64_t)reached->v - reached->threshold - raised;
}

// How often a neuron fires that nothing inhibits.
SPK_INLINE uint32_t spk_lif_fires(const struct spk_lif *c, const struct spk_lif_switches *s,
                                  const struct spk_lif_reached *reached, int32_t adaptation) {
    if (s->most == 1 && s->adapts != SPK_ADAPTS_THRESHOLD) {
        return c->inclusive ? reached->v >= reached->threshold : reached->v > reached->threshold;
    }
    int64_t over = spk_lif_over(s, reached, adaptation);
    uint32_t spikes = 0;
    do {
        if (c->inclusive ? over < 0 : over <= 0) {
            break;
        }
        over -= reached->threshold;
        spikes++;
    } while (spikes < s->most);
    return spikes;
}

// The membrane that is stored after so many spikes.
SPK_INLINE int32_t spk_lif_reset(const struct spk_lif *c, const struct spk_lif_switches *s,
                                 const struct spk_lif_reached *reached, uint32_t spikes,
                                 uint32_t *saturations) {
    const int32_t v = reached->v;
    if (c->timing == SPK_BOTH_STEPS && c->reset != SPK_RESET_NONE) {
        const int32_t times = (int32_t)spikes - reached->late;
        const int64_t off =
            c->reset == SPK_RESET_SUBTRACT ? reached->threshold : (int64_t)v - reached->value;
        return spk_saturate(v - times * off, c->wide, saturations);
    }
    if (spikes != 0 && c->timing == SPK_SAME_STEP) {
        if (c->reset == SPK_RESET_SUBTRACT) {
            return s->most == 1 ? v - reached->threshold : v - (int32_t)spikes * reached->threshold;
        }
        if (c->reset != SPK_RESET_NONE) {
            return reached->value;
        }
    }
    return v;
}

// The adaptation of neuron i after a step: v is the membrane that was stored.
SPK_INLINE void spk_lif_adapt(const struct spk_lif *c, const struct spk_lif_switches *s,
                              void *adaptation, int32_t v, uint32_t spikes, uint32_t i,
                              uint32_t *saturations) {
    const uint32_t factor = spk_leak_factor(s->adaptation_leak, s->adaptation_leaks,
                                            s->adaptation_leaks_each, c->leak_bits, i, c->n);
    const int32_t held = spk_load(adaptation, i, c->wide);
    int64_t w = spk_leak(held, factor, c->leak_bits, c->rounding, c->small);
    const int32_t coupling =
        s->coupling ? s->coupling[spk_lif_index(c, i, s->coupling_each)] : s->coupling_all;
    if (s->coupling || s->coupling_all != 0) {
        const int64_t half = (int64_t)(1ull << s->coupling_bits >> 1);
        w += (spk_signed_product(v, coupling) + half) >> s->coupling_bits;
    }
    const int32_t jump = s->jump ? s->jump[spk_lif_index(c, i, s->jump_each)] : s->jump_all;
    w += (int64_t)jump * spikes;
    spk_store(adaptation, i, c->wide,
              c->exact ? (int32_t)w : spk_saturate(w, c->wide, saturations));
}

// The states of a layer; what it does not have is 0.
struct spk_lif_states {
    void *membrane;   // (n,)
    uint8_t *waiting; // (n,) refractory steps left
    void *adaptation; // (n,) of the membrane's type
};

// A step of neuron i but for inhibition: how often it fires.
SPK_INLINE uint32_t spk_lif_one(const struct spk_lif *c, const struct spk_lif_switches *s,
                                uint32_t i, const void *input, const struct spk_lif_states *states,
                                uint32_t *saturations) {
    const int32_t held = spk_load(states->membrane, i, c->wide);
    if (c->refractory != 0 && states->waiting[i] != 0) {
        states->waiting[i]--;
        if (s->adapts != SPK_ADAPTS_NOTHING) {
            spk_lif_adapt(c, s, states->adaptation, held, 0, i, saturations);
        }
        return 0;
    }
    const int32_t w =
        s->adapts == SPK_ADAPTS_NOTHING ? 0 : spk_load(states->adaptation, i, c->wide);
    const struct spk_lif_reached reached =
        spk_lif_reach(c, s, held, spk_load(input, i, c->input_wide), w, i, saturations);
    const uint32_t spikes = spk_lif_fires(c, s, &reached, w);
    const int32_t v = spk_lif_reset(c, s, &reached, spikes, saturations);
    if (spikes != 0 && c->refractory != 0) {
        states->waiting[i] = (uint8_t)c->refractory;
    }
    spk_store(states->membrane, i, c->wide, v);
    if (s->adapts != SPK_ADAPTS_NOTHING) {
        spk_lif_adapt(c, s, states->adaptation, v, spikes, i, saturations);
    }
    return spikes;
}

// Neurons first..first + count; answers their spikes from bit 0 up.
SPK_INLINE uint32_t spk_lif_group(const struct spk_lif *c, const struct spk_lif_switches *s,
                                  uint32_t first, uint32_t count, const void *input,
                                  const struct spk_lif_states *states, uint32_t *saturations) {
    uint32_t bits = 0;
    SPK_UNROLL(8)
    for (uint32_t k = 0; k < count; k++) {
        if (spk_lif_one(c, s, first + k, input, states, saturations) != 0) {
            bits |= 1u << k;
        }
    }
    return bits;
}

// "Quick": membranes and input of 16 bits, proved not to saturate, of neurons that differ in their
// thresholds and leaks alone. Sixteen of them are worked on in one go.
SPK_INLINE bool spk_lif_is_quick(const struct spk_lif *c) {
    const bool same = (!c->leaks || c->leaks_each == c->n) && !c->drift && c->drift_all == 0 &&
                      (c->reset != SPK_RESET_VALUE || !c->reset_value) &&
                      (!c->threshold || c->threshold_each == c->n) && c->timing != SPK_BOTH_STEPS;
    const bool leaks =
        c->leaks || c->leak == 1u << 15 || c->leak % 2 == 1 || c->rounding != SPK_TOWARD_ZERO;
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
    const int16_t *thresholds = c->threshold;
    const uint16_t *leaks = c->leaks;
    uint16_t *halves = (uint16_t *)(void *)spikes;
    const uint32_t even = c->n / 2 * 2;
    const uint32_t i = c->n / 16 * 16;
    const int16_t *const end = membrane + i;
    for (; membrane < end; membrane += 16) {
        *halves++ = (uint16_t)spk_lif_some(c, 16, input, membrane, thresholds, leaks);
        input += 16;
        thresholds += c->threshold ? 16 : 0;
        leaks += c->leaks ? 16 : 0;
    }
    if (c->n % 16 != 0) {
        uint32_t bits = 0;
        if (i < even) {
            bits = spk_lif_some(c, even % 16, input, membrane, thresholds, leaks);
        }
        if (c->n % 2 != 0) {
            const struct spk_lif_states states = {membrane - i, 0, 0};
            bits |= spk_lif_group(c, &spk_lif_plain, even, 1, input - i, &states, saturations)
                    << even % 16;
        }
        *halves++ = (uint16_t)bits;
    }
    if ((c->n + 15) / 16 % 2 != 0) {
        *halves = 0;
    }
}
#endif

// input: (n,) int16 or int32; spikes: (n,) bits.
SPK_INLINE void spk_lif_groups(const struct spk_lif *c, const struct spk_lif_switches *s,
                               const void *input, const struct spk_lif_states *states,
                               uint32_t *spikes, uint32_t *saturations) {
    const uint32_t group = c->n < 32 ? 4 : 8; // neurons that are unrolled
    for (uint32_t base = 0; base < c->n; base += 32) {
        const uint32_t count = spk_min_u32(32, c->n - base);
        uint32_t bits = 0;
        uint32_t k = 0;
        for (; k + group <= count; k += group) {
            bits |= spk_lif_group(c, s, base + k, group, input, states, saturations) << k;
        }
        if (c->n % group != 0 && k < count) {
            bits |= spk_lif_group(c, s, base + k, c->n % group, input, states, saturations) << k;
        }
        spikes[base / 32] = bits;
    }
}

// Neurons without the switches of spk_lif_switched().
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
    const struct spk_lif_states states = {membrane, waiting, 0};
    spk_lif_groups(c, &spk_lif_plain, input, &states, spikes, saturations);
}

// All reach their membranes, then one of them may spike. spikes: (n,) bits.
SPK_INLINE void spk_lif_inhibited(const struct spk_lif *c, const struct spk_lif_switches *s,
                                  const void *input, const struct spk_lif_states *states,
                                  uint32_t *spikes, uint32_t *saturations) {
    spk_clear(spikes, (c->n + 31) / 32 * 4);
    struct spk_lif_reached best = {0, 0, 0, false};
    uint32_t winner = c->n;
    int64_t far = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        if (c->refractory != 0 && states->waiting[i] != 0) {
            states->waiting[i]--;
            continue;
        }
        const int32_t w =
            s->adapts == SPK_ADAPTS_NOTHING ? 0 : spk_load(states->adaptation, i, c->wide);
        const struct spk_lif_reached reached =
            spk_lif_reach(c, s, spk_load(states->membrane, i, c->wide),
                          spk_load(input, i, c->input_wide), w, i, saturations);
        const int64_t over = spk_lif_over(s, &reached, w);
        if (winner != c->n && over <= far) {
            spk_store(states->membrane, i, c->wide, spk_lif_reset(c, s, &reached, 0, saturations));
            continue;
        }
        if (winner != c->n) {
            spk_store(states->membrane, winner, c->wide,
                      spk_lif_reset(c, s, &best, 0, saturations));
        }
        winner = i;
        far = over;
        best = reached;
    }
    if (winner != c->n) {
        const bool fires = c->inclusive ? far >= 0 : far > 0;
        const int32_t v = spk_lif_reset(c, s, &best, fires, saturations);
        spk_store(states->membrane, winner, c->wide, v);
        if (fires) {
            spikes[winner / 32] = 1u << winner % 32;
            if (c->refractory != 0) {
                states->waiting[winner] = (uint8_t)c->refractory;
            }
        }
    }
    for (uint32_t i = 0; s->adapts != SPK_ADAPTS_NOTHING && i < c->n; i++) {
        spk_lif_adapt(c, s, states->adaptation, spk_load(states->membrane, i, c->wide),
                      spikes[i / 32] >> i % 32 & 1, i, saturations);
    }
}

// Neurons that adapt, that inhibit each other, or that spike several times in a step.
// adaptation: (n,) of the membrane's type, or 0; spikes: (n,) bits, or uint8 with `most` above 1;
// the others as in spk_lif().
SPK_INLINE void spk_lif_switched(const struct spk_lif *c, const struct spk_lif_switches *s,
                                 const void *input, void *membrane, uint8_t *waiting,
                                 void *adaptation, void *spikes, uint32_t *saturations) {
    const struct spk_lif_states states = {membrane, waiting, adaptation};
    if (s->inhibition) {
        spk_lif_inhibited(c, s, input, &states, spikes, saturations);
    } else if (s->most > 1) {
        for (uint32_t i = 0; i < c->n; i++) {
            ((uint8_t *)spikes)[i] = (uint8_t)spk_lif_one(c, s, i, input, &states, saturations);
        }
    } else {
        spk_lif_groups(c, s, input, &states, spikes, saturations);
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
