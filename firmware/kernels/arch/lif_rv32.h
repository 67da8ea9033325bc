// Neurons with 16 bits of state on RV32 with a multiplier: see lif.h, "quick".
// SPDX-License-Identifier: Apache-2.0
//
// Rounded toward zero, v * leak / 2^15 is its floor, and 1 more where v is negative, because an odd
// leak never divides evenly. MULHU by leak * 2^17 + 1 gives both at once: it takes v for
// v + 2^32 where v is negative, which adds the factor to the high word, so 1 to its low 17 bits.
// The bits above are spoilt, so membranes are compared where they lie shifted left by 16. The 1 in
// the factor adds |v| < 2^15 to a low word that is a multiple of 2^17 and, but for v = 0, not 0.
//
// Two such neurons take one load of their inputs. The first adds the whole word, since its upper
// half is spoilt anyway. The second stays in the upper half, above the first one's input; it is
// stored as a word, of which the first then overwrites its half.
#ifndef SPK_LIF_RV32_H
#define SPK_LIF_RV32_H

// Every convention.
SPK_INLINE bool spk_lif_suits(const struct spk_lif *c) {
    (void)c;
    return true;
}

// Whether only the low 16 bits of what is kept are right.
SPK_INLINE bool spk_lif_spoilt(const struct spk_lif *c) {
    return !c->leaks && c->leak != 1u << 15 && c->rounding == SPK_TOWARD_ZERO;
}

SPK_INLINE uint32_t spk_lif_factor(const struct spk_lif *c) {
    return c->leak << 17 | 1u;
}

// leak: of the neuron, where each has its own.
SPK_INLINE uint32_t spk_lif_kept(const struct spk_lif *c, uint32_t leak, int32_t v) {
    if (c->leaks) {
        return (uint32_t)spk_leak(v, leak, 15, c->rounding, true);
    }
    if (spk_lif_spoilt(c)) {
        return (uint32_t)((uint64_t)(uint32_t)v * spk_lif_factor(c) >> 32);
    }
    if (c->leak != 1u << 15 && c->rounding == SPK_FLOOR) {
        return (uint32_t)((int64_t)v * (int64_t)(uint64_t)(c->leak << 17) >> 32);
    }
    return (uint32_t)spk_leak(v, c->leak, 15, c->rounding, true);
}

SPK_INLINE int32_t spk_lif_held(const struct spk_lif *c, const int16_t *v, uint32_t i) {
    int32_t held = v[i];
    if (!spk_lif_spoilt(c)) {
        SPK_OPAQUE(held); // its sign is not asked for again
    }
    return held;
}

SPK_INLINE bool spk_lif_reaches(const struct spk_lif *c, int32_t v, int32_t threshold) {
    return c->inclusive ? v >= threshold : v > threshold;
}

// Whether the stored membrane resets its neuron in this step. Few do: what follows is a branch
// away.
SPK_INLINE bool spk_lif_late(const struct spk_lif *c, int32_t held, int32_t threshold) {
    return c->timing != SPK_SAME_STEP && c->reset != SPK_RESET_NONE &&
           spk_lif_reaches(c, held, threshold);
}

// What is kept of a neuron.
SPK_INLINE uint32_t spk_lif_kept_of(const struct spk_lif *c, uint32_t leak, bool late, int32_t held,
                                    int32_t threshold) {
    const bool to_value = c->reset == SPK_RESET_ZERO || c->reset == SPK_RESET_VALUE;
    if (c->timing != SPK_NEXT_STEP || !to_value) {
        return spk_lif_kept(c, leak, held);
    }
    const int32_t value = c->reset == SPK_RESET_VALUE ? c->reset_all : 0;
    if (!spk_lif_spoilt(c)) {
        return spk_lif_kept(c, leak, late ? value : held);
    }
    // Compilers would multiply on both sides of the branch.
    const uint32_t factor = spk_lif_factor(c);
    const uint32_t reset = value == 0 ? 0 : spk_lif_kept(c, leak, value);
    uint32_t kept;
    if (c->inclusive) {
        __asm__("mulhu %[kept], %[held], %[factor]\n"
                "blt %[held], %[threshold], 1f\n"
                "mv %[kept], %z[reset]\n"
                "1:\n"
                : [kept] "=&r"(kept)
                : [held] "r"(held), [factor] "r"(factor), [threshold] "r"(threshold),
                  [reset] "rJ"(reset));
    } else {
        __asm__("mulhu %[kept], %[held], %[factor]\n"
                "bge %[threshold], %[held], 1f\n"
                "mv %[kept], %z[reset]\n"
                "1:\n"
                : [kept] "=&r"(kept)
                : [held] "r"(held), [factor] "r"(factor), [threshold] "r"(threshold),
                  [reset] "rJ"(reset));
    }
    return kept;
}

// Its membrane before the spike, `left` bits to the left, as the threshold.
SPK_INLINE uint32_t spk_lif_next(const struct spk_lif *c, bool late, uint32_t next,
                                 uint32_t threshold, uint32_t left) {
    if (late && c->reset == SPK_RESET_SUBTRACT) {
        next -= threshold;
        SPK_NOW(next);
    } else if (late && c->timing == SPK_NEXT_STEP_INPUT_LOST) {
        next = c->reset == SPK_RESET_VALUE ? (uint32_t)c->reset_all << left : 0;
        SPK_NOW(next);
    }
    return next;
}

// Its membrane after a spike, likewise.
SPK_INLINE uint32_t spk_lif_spent(const struct spk_lif *c, uint32_t next, uint32_t threshold,
                                  uint32_t left) {
    if (c->timing != SPK_SAME_STEP || c->reset == SPK_RESET_NONE) {
        return next;
    }
    if (c->reset == SPK_RESET_SUBTRACT) {
        return next - threshold;
    }
    return c->reset == SPK_RESET_VALUE ? (uint32_t)c->reset_all << left : 0;
}

// Neuron i; adds its spike to those before. x, v, thresholds, leaks: as below.
SPK_INLINE uint32_t spk_lif_single(const struct spk_lif *c, uint32_t i, const int16_t *x,
                                   int16_t *v, const int16_t *thresholds, const uint16_t *leaks,
                                   uint32_t bits) {
    const uint32_t leak = c->leaks ? leaks[i] : 0;
    const int32_t threshold = c->threshold ? thresholds[i] : c->threshold_all;
    const int32_t held = spk_lif_held(c, v, i);
    const bool late = spk_lif_late(c, held, threshold);
    uint32_t next = spk_lif_kept_of(c, leak, late, held, threshold) +
                    ((uint32_t)(int32_t)x[i] << c->input_shift);
    next = spk_lif_next(c, late, next, (uint32_t)threshold, 0);
    if (spk_lif_reaches(c, (int32_t)next, threshold)) {
        bits |= 1u << i;
        next = spk_lif_spent(c, next, (uint32_t)threshold, 0);
    }
    spk_store(v, i, false, (int32_t)next);
    return bits;
}

// Neurons i and i + 1, i even, of which only the low 16 bits of what is kept are right.
SPK_INLINE uint32_t spk_lif_two(const struct spk_lif *c, uint32_t i, const int16_t *x, int16_t *v,
                                const int16_t *thresholds, uint32_t bits) {
    const uint32_t upper = 0xFFFF0000u;
    const uint32_t all = (uint32_t)c->threshold_all << 16;
    const uint32_t both = c->threshold ? *(const uint32_t *)(const void *)(thresholds + i) : 0;
    const int32_t held[2] = {spk_lif_held(c, v, i), spk_lif_held(c, v, i + 1)};
    const int32_t own[2] = {c->threshold ? thresholds[i] : c->threshold_all,
                            c->threshold ? thresholds[i + 1] : c->threshold_all};
    const bool late[2] = {spk_lif_late(c, held[0], own[0]), spk_lif_late(c, held[1], own[1])};
    const uint32_t in = *(const uint32_t *)(const void *)(x + i);
    const uint32_t kept[2] = {
        spk_lif_kept_of(c, 0, late[0], held[0], own[0]),
        spk_lif_kept_of(c, 0, late[1], held[1], own[1]) << 16,
    };
    uint32_t first = kept[0] + (in << c->input_shift);
    first = spk_lif_next(c, late[0], first, c->threshold ? both : all >> 16, 0);
    int32_t compared = (int32_t)(first << 16);
    SPK_OPAQUE(compared);
    if (spk_lif_reaches(c, compared, (int32_t)(c->threshold ? both << 16 : all))) {
        bits |= 1u << i;
        first = spk_lif_spent(c, first, c->threshold ? both : all >> 16, 0);
    }
    uint32_t second = kept[1] + (c->input_shift == 0 ? in : (in & upper) << c->input_shift);
    second = spk_lif_next(c, late[1], second, (uint32_t)own[1] << 16, 16);
    // Below the second lies an input; below its threshold, if it is one of many, lies another.
    const uint32_t level = !c->threshold  ? c->inclusive ? all : all | ~upper
                           : c->inclusive ? both & upper
                                          : both;
    // In front of a strict threshold of many, what lies below may decide: that is asked last.
    const bool exact = c->inclusive || !c->threshold;
    const bool subtract = c->timing == SPK_SAME_STEP && c->reset == SPK_RESET_SUBTRACT;
    const bool reaches = spk_lif_reaches(c, (int32_t)second, (int32_t)level);
    if (reaches && !exact && subtract) {
        second -= both & upper;
        SPK_OPAQUE(second);
        if (__builtin_expect(second > ~upper, 1)) { // not just what lies below
            bits |= 2u << i;
        } else {
            second += both & upper;
        }
    } else if (reaches && (exact || (second ^ both) > ~upper)) {
        bits |= 2u << i;
        second = spk_lif_spent(c, second, c->threshold ? both & upper : all, 16);
    }
    *(uint32_t *)(void *)(v + i) = second;
    if (c->timing == SPK_SAME_STEP) {
        SPK_OPAQUE(first); // it is not sign-extended on the one side of a branch
    }
    v[i] = (int16_t)first;
    return bits;
}

// `count` neurons, a constant, even and at most 16; answers their spikes from bit 0 up.
// x, v, thresholds, leaks: (count,), aligned to words; the last two may be 0.
SPK_INLINE uint32_t spk_lif_some(const struct spk_lif *c, uint32_t count, const int16_t *x,
                                 int16_t *v, const int16_t *thresholds, const uint16_t *leaks) {
    uint32_t bits;
    __asm__ volatile("li %0, 0" : "=r"(bits)); // the first spike is no case of its own
    SPK_UNROLL(16)
    for (uint32_t i = 0; i < count; i += 2) {
        if (spk_lif_spoilt(c)) {
            bits = spk_lif_two(c, i, x, v, thresholds, bits);
        } else {
            bits = spk_lif_single(c, i, x, v, thresholds, leaks, bits);
            bits = spk_lif_single(c, i + 1, x, v, thresholds, leaks, bits);
        }
    }
    return bits;
}

#endif
