// Neurons with 16 bits of state on RV32 with a multiplier: see lif.h, "quick".
// SPDX-License-Identifier: Apache-2.0
//
// Rounded toward zero, v * leak / 2^15 is its floor, and 1 more where v is negative, because an odd
// leak never divides evenly. MULHU by leak * 2^17 + 1 gives both at once: it takes v for
// v + 2^32 where v is negative, which adds the factor to the high word, so 1 to its low 17 bits.
// The bits above are spoilt, so membranes are compared where they lie shifted left by 16. The 1 in
// the factor adds |v| < 2^15 to a low word that is a multiple of 2^17 and, but for v = 0, not 0.
#ifndef SPK_LIF_RV32_H
#define SPK_LIF_RV32_H

// Every convention.
SPK_INLINE bool spk_lif_suits(const struct spk_lif *c) {
    (void)c;
    return true;
}

// Whether only the low 16 bits of what is kept are right.
SPK_INLINE bool spk_lif_spoilt(const struct spk_lif *c) {
    return c->leak != 1u << 15 && c->rounding == SPK_TOWARD_ZERO;
}

SPK_INLINE uint32_t spk_lif_kept(const struct spk_lif *c, int32_t v) {
    if (spk_lif_spoilt(c)) {
        return (uint32_t)((uint64_t)(uint32_t)v * (c->leak << 17 | 1u) >> 32);
    }
    if (c->leak != 1u << 15 && c->rounding == SPK_FLOOR) {
        return (uint32_t)((int64_t)v * (int64_t)(uint64_t)(c->leak << 17) >> 32);
    }
    return (uint32_t)spk_leak(v, c->leak, 15, c->rounding, true);
}

// The threshold of neuron k of two as it is compared. both: theirs, in a word.
SPK_INLINE int32_t spk_lif_level(const struct spk_lif *c, const int16_t *thresholds, uint32_t both,
                                 uint32_t k) {
    if (!spk_lif_spoilt(c)) {
        return thresholds ? thresholds[k] : c->threshold_all;
    }
    if (!thresholds) {
        return c->threshold_all * (1 << 16);
    }
    if (k == 0) {
        return (int32_t)(both << 16);
    }
    // A membrane's low half is 0 there: that of the threshold does not matter to `>`.
    return (int32_t)(c->inclusive ? both & 0xFFFF0000u : both);
}

// `count` neurons, a constant, at most 16; answers their spikes from bit 0 up.
// x, v, thresholds: (count,); thresholds may be 0, and is aligned to words.
SPK_INLINE uint32_t spk_lif_some(const struct spk_lif *c, uint32_t count, const int16_t *x,
                                 int16_t *v, const int16_t *thresholds) {
    const bool to_value = c->reset == SPK_RESET_ZERO || c->reset == SPK_RESET_VALUE;
    const int32_t value = c->reset == SPK_RESET_VALUE ? c->reset_all : 0;
    const bool now = c->timing == SPK_SAME_STEP;
    uint32_t bits = 0;
    SPK_UNROLL(16)
    for (uint32_t i = 0; i < count; i++) {
        int32_t held = v[i];
        const uint32_t both =
            thresholds ? *(const uint32_t *)(const void *)(thresholds + i / 2 * 2) : 0;
        const int32_t own = thresholds ? thresholds[i] : c->threshold_all;
        // Few are: their part of the code is a branch away.
        const bool late = !now && c->reset != SPK_RESET_NONE &&
                          __builtin_expect(c->inclusive ? held >= own : held > own, 0);
        uint32_t in = (uint32_t)(int32_t)x[i] << c->input_shift;
        if (late && to_value && c->timing == SPK_NEXT_STEP) {
            held = value;
            SPK_NOW(held);
        }
        if (late && c->reset == SPK_RESET_SUBTRACT) {
            in -= (uint32_t)own;
            SPK_NOW(in);
        }
        SPK_OPAQUE(held); // its sign is not asked for again
        uint32_t next = spk_lif_kept(c, held) + in;
        if (late && to_value && c->timing == SPK_NEXT_STEP_INPUT_LOST) {
            next = (uint32_t)value;
        }
        const int32_t level =
            spk_lif_level(c, thresholds + (thresholds ? i / 2 * 2 : 0), both, i % 2);
        int32_t compared = (int32_t)(spk_lif_spoilt(c) ? next << 16 : next);
        SPK_OPAQUE(compared);
        if (c->inclusive ? compared >= level : compared > level) {
            bits |= 1u << i;
            if (now && c->reset == SPK_RESET_SUBTRACT && thresholds && spk_lif_spoilt(c)) {
                next -= i % 2 ? both >> 16 : both; // what is stored is the low half
            } else if (now && c->reset == SPK_RESET_SUBTRACT) {
                next -= (uint32_t)own;
            } else if (now && to_value) {
                next = (uint32_t)value;
            }
        }
        spk_store(v, i, false, (int32_t)next);
    }
    return bits;
}

#endif
