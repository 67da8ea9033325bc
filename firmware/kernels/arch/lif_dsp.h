// Neurons with 16 bits of state with Arm's DSP extension, two in a word: see lif.h, "quick".
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LIF_DSP_H
#define SPK_LIF_DSP_H

#include "kernels/arch/halves_dsp.h"

// Every convention.
SPK_INLINE bool spk_lif_suits(const struct spk_lif *c) {
    (void)c;
    return true;
}

// Of eight pairs, the spikes of the first neurons are collected in bits 0, 2, ... 14, those of the
// second in bits 16, 18, ... 30.

struct spk_lif_fired {
    uint32_t spikes; // of `ones`
    uint32_t chosen; // `then` where the neuron fires, else `other`
};

// Whether two membranes reach their thresholds. SSUB16 tells it in flags, which SEL asks.
SPK_INLINE struct spk_lif_fired spk_lif_fire(uint32_t v, uint32_t threshold, bool inclusive,
                                             uint32_t ones, uint32_t then, uint32_t other) {
    struct spk_lif_fired fired;
    const uint32_t none = 0;
    if (inclusive) {
        __asm__("ssub16 %[s], %[v], %[t]\n"
                "sel %[s], %[ones], %[none]\n"
                "sel %[c], %[then], %[other]\n"
                : [s] "=&r"(fired.spikes), [c] "=r"(fired.chosen)
                : [v] "r"(v), [t] "r"(threshold), [ones] "r"(ones), [none] "r"(none),
                  [then] "r"(then), [other] "r"(other)
                : "cc");
    } else {
        __asm__("ssub16 %[s], %[t], %[v]\n"
                "sel %[s], %[none], %[ones]\n"
                "sel %[c], %[other], %[then]\n"
                : [s] "=&r"(fired.spikes), [c] "=r"(fired.chosen)
                : [v] "r"(v), [t] "r"(threshold), [ones] "r"(ones), [none] "r"(none),
                  [then] "r"(then), [other] "r"(other)
                : "cc");
    }
    return fired;
}

// `then` in the halves of those that reach their thresholds, `other` in the rest.
SPK_INLINE uint32_t spk_lif_choose(uint32_t v, uint32_t threshold, bool inclusive, uint32_t then,
                                   uint32_t other) {
    uint32_t chosen;
    if (inclusive) {
        __asm__("ssub16 %[c], %[v], %[t]\n"
                "sel %[c], %[then], %[other]\n"
                : [c] "=&r"(chosen)
                : [v] "r"(v), [t] "r"(threshold), [then] "r"(then), [other] "r"(other)
                : "cc");
    } else {
        __asm__("ssub16 %[c], %[t], %[v]\n"
                "sel %[c], %[other], %[then]\n"
                : [c] "=&r"(chosen)
                : [v] "r"(v), [t] "r"(threshold), [then] "r"(then), [other] "r"(other)
                : "cc");
    }
    return chosen;
}

SPK_INLINE uint32_t spk_lif_leak(const struct spk_lif *c, uint8_t rounding, uint32_t ones,
                                 uint32_t leaks, uint32_t v, uint32_t x) {
    return c->leaks ? spk_halves_leaks(leaks, rounding, v, x)
                    : spk_halves_leak(c->leak, rounding, ones, v, x);
}

// One pair: its new membranes in *v; answers its spikes, of `ones`, SPK_HALVES_ONES.
// threshold, leaks: theirs.
SPK_INLINE uint32_t spk_lif_pair(const struct spk_lif *c, uint32_t ones, uint32_t x, uint32_t *v,
                                 uint32_t threshold, uint32_t leaks) {
    const bool to_value = c->reset == SPK_RESET_ZERO || c->reset == SPK_RESET_VALUE;
    const bool late = c->timing != SPK_SAME_STEP && c->reset != SPK_RESET_NONE;
    const bool subtract = c->reset == SPK_RESET_SUBTRACT;
    const uint32_t value = c->reset == SPK_RESET_VALUE ? (uint16_t)c->reset_all * 0x00010001u : 0;
    const uint32_t held = *v;
    uint32_t from = held;
    if (late && to_value && c->timing == SPK_NEXT_STEP) {
        from = spk_lif_choose(held, threshold, c->inclusive, value, held);
    }
    if (c->input_shift != 0) {
        x = x << c->input_shift & (0xFFFFu << c->input_shift & 0xFFFFu) * 0x00010001u;
    }
    const bool toward_zero = !c->leaks && c->rounding == SPK_TOWARD_ZERO && c->leak != 1u << 15;
    uint32_t next;
    if (late && subtract) {
        // A membrane that fired is positive: one subtraction takes its threshold off, or rounds.
        const uint32_t other = toward_zero ? spk_halves_signs(held) : 0;
        x = spk_halves_sub(x, spk_lif_choose(held, threshold, c->inclusive, threshold, other));
        next = spk_lif_leak(c, toward_zero ? SPK_FLOOR : c->rounding, ones, leaks, held, x);
    } else {
        next = spk_lif_leak(c, c->rounding, ones, leaks, from, x);
    }
    if (late && to_value && c->timing == SPK_NEXT_STEP_INPUT_LOST) {
        next = spk_lif_choose(held, threshold, c->inclusive, value, next);
    }
    if (c->timing != SPK_SAME_STEP || c->reset == SPK_RESET_NONE) {
        *v = next;
        return spk_lif_choose(next, threshold, c->inclusive, ones, 0);
    }
    const struct spk_lif_fired fired = spk_lif_fire(
        next, threshold, c->inclusive, ones, subtract ? threshold : value, subtract ? 0 : next);
    *v = subtract ? spk_halves_sub(next, fired.chosen) : fired.chosen;
    return fired.spikes;
}

// Words 0 and 1 behind p + at, `at` a constant of bytes. LDRD needs them aligned to a word.
SPK_INLINE void spk_lif_load(const uint32_t *p, uint32_t at, uint32_t *words) {
#if defined(__OPTIMIZE__)
    __asm__ volatile("ldrd %[a], %[b], [%[p], %[at]]"
                     : [a] "=&r"(words[0]), [b] "=r"(words[1])
                     : [p] "r"(p), [at] "i"(at)
                     : "memory");
#else
    words[0] = p[at / 4];
    words[1] = p[at / 4 + 1];
#endif
}

SPK_INLINE void spk_lif_save(uint32_t *p, uint32_t at, const uint32_t *words) {
#if defined(__OPTIMIZE__)
    __asm__ volatile("strd %[a], %[b], [%[p], %[at]]"
                     :
                     : [a] "r"(words[0]), [b] "r"(words[1]), [p] "r"(p), [at] "i"(at)
                     : "memory");
#else
    p[at / 4] = words[0];
    p[at / 4 + 1] = words[1];
#endif
}

// Where neurons lie, two in a word, and constants that keep their registers.
struct spk_lif_lanes {
    const uint32_t *x;
    uint32_t *v;
    const uint32_t *thresholds; // or 0
    const uint32_t *leaks;      // or 0
    uint32_t ones;              // SPK_HALVES_ONES
};

// Four neurons from number `first` on, a constant below 16; adds their spikes to those before.
SPK_INLINE uint32_t spk_lif_four(const struct spk_lif *c, const struct spk_lif_lanes *lanes,
                                 uint32_t first, uint32_t spikes) {
    const uint32_t all = (uint16_t)c->threshold_all * 0x00010001u;
    uint32_t level[2] = {all, all};
    uint32_t in[2];
    uint32_t held[2];
    spk_lif_load(lanes->v, 2 * first, held);
    const bool apart = // for want of registers
        c->leaks || (c->threshold && c->timing != SPK_SAME_STEP && c->reset == SPK_RESET_SUBTRACT);
    if (apart) {
        in[0] = lanes->x[first / 2];
    } else {
        spk_lif_load(lanes->x, 2 * first, in);
    }
    if (c->threshold) {
        spk_lif_load(lanes->thresholds, 2 * first, level);
    }
    uint32_t leaks = c->leaks ? lanes->leaks[first / 2] : 0;
    spikes |= spk_lif_pair(c, lanes->ones, in[0], &held[0], level[0], leaks) << first;
    if (apart) {
        SPK_IN_ORDER();
        in[1] = lanes->x[first / 2 + 1];
        leaks = c->leaks ? lanes->leaks[first / 2 + 1] : 0;
    }
    SPK_OPAQUE(spikes); // one after the other: the shift is part of the or
    spikes |= spk_lif_pair(c, lanes->ones, in[1], &held[1], level[1], leaks) << (first + 2);
    SPK_OPAQUE(spikes);
    spk_lif_save(lanes->v, 2 * first, held);
    return spikes;
}

// `count` neurons, a constant, even and at most 16; answers their spikes from bit 0 up.
// x, v, thresholds, leaks: (count,), aligned to words; the last two may be 0.
SPK_INLINE uint32_t spk_lif_some(const struct spk_lif *c, uint32_t count, const int16_t *x,
                                 int16_t *v, const int16_t *thresholds, const uint16_t *leaks) {
    struct spk_lif_lanes lanes = {(const uint32_t *)(const void *)x, (uint32_t *)(void *)v,
                                  (const uint32_t *)(const void *)thresholds,
                                  (const uint32_t *)(const void *)leaks, SPK_HALVES_ONES};
    SPK_OPAQUE(lanes.ones);
    uint32_t spikes = 0;
    // Pairs want these two: GCC would keep addresses there that only code behind the loop asks for.
    __asm__ volatile("" : : : "r8", "r9");
    if (count >= 4) {
        spikes = spk_lif_four(c, &lanes, 0, spikes);
    }
    if (count >= 8) {
        spikes = spk_lif_four(c, &lanes, 4, spikes);
    }
    if (count >= 12) {
        spikes = spk_lif_four(c, &lanes, 8, spikes);
    }
    if (count >= 16) {
        spikes = spk_lif_four(c, &lanes, 12, spikes);
    }
    if (count % 4 != 0) {
        const uint32_t all = (uint16_t)c->threshold_all * 0x00010001u;
        const uint32_t i = count / 2 - 1;
        const uint32_t level = c->threshold ? lanes.thresholds[i] : all;
        const uint32_t kept = c->leaks ? lanes.leaks[i] : 0;
        spikes |= spk_lif_pair(c, lanes.ones, lanes.x[i], lanes.v + i, level, kept) << 2 * i;
    }
    return (spikes | spikes >> 15) & 0xFFFFu;
}

#endif
