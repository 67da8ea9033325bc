// Values of an adapter, folded into what a layer's sums become codes by: its kernel is
// the same, and reads tables in RAM instead of those in flash. Golden twin:
// pytools/spikelet/graph/gains.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_GAINS_H
#define SPK_GAINS_H

#include "kernels/requantise.h"

#define SPK_GAIN_BITS 7
#define SPK_MOST_UNIT 16
#define SPK_NO_GAIN (-2) // the shift of a factor of 0

// (multiplier + fraction / 2^22) * 2^(shift - 31)
struct spk_factor {
    int32_t multiplier;
    int32_t fraction;
    int32_t shift;
};

// p / 2^right, rounded down; 0 <= right < 32. Some cores call a library for a shift of 64 bits.
SPK_INLINE uint64_t spk_shifted_right(uint64_t p, uint32_t right) {
    const uint32_t high = (uint32_t)(p >> 32);
    const uint32_t low = (uint32_t)p;
    if (right == 0) {
        return p;
    }
    return (uint64_t)(high >> right) << 32 | (low >> right | high << (32 - right));
}

// A factor times (128 + gain) / 128, its mantissa rounded to the nearest of as many bits, halves
// up; `once`: it has a fraction.
SPK_SHARED struct spk_factor spk_with_gain(struct spk_factor f, bool once, int32_t gain) {
    const uint32_t times = (uint32_t)(gain + (1 << SPK_GAIN_BITS));
    const uint32_t bits = once ? 53 : 31;
    uint64_t product = spk_product(times, (uint32_t)f.multiplier);
    if (once) {
        product = (product << 22) + spk_product(times, (uint32_t)f.fraction);
    }
    uint32_t right = 0;
    while (times >> right != 0) {
        right++;
    }
    if (right > 0 && spk_shifted_right(product, right) >> (bits - 1) == 0) {
        right--;
    }
    uint64_t scaled = spk_shifted_right(product + ((1u << right) >> 1), right);
    const uint32_t carry = (uint32_t)(scaled >> bits);
    const int32_t shift = f.shift - SPK_GAIN_BITS + (int32_t)(right + carry);
    if (product == 0 || shift < -31) {
        return (struct spk_factor){0, 0, SPK_NO_GAIN};
    }
    scaled = carry != 0 ? scaled >> 1 : scaled;
    if (!once) {
        return (struct spk_factor){(int32_t)scaled, 0, shift};
    }
    return (struct spk_factor){(int32_t)(scaled >> 22), (int32_t)(scaled & 0x3FFFFF), shift};
}

// What a bias adds to the sums of a channel.
SPK_INLINE int32_t spk_added_bias(int32_t bias, int32_t shift) {
    const int32_t right = spk_clamp(-shift, 0, SPK_MOST_UNIT);
    return (int32_t)((uint32_t)bias << right);
}

// Points `out` to a table with gain and bias (channels,) in it. fraction: of a layer that rounds
// once, else 0. table: words, by fours of channels: bias, multiplier, fraction where there is one,
// and a byte each for the shift.
SPK_SHARED void spk_fold_gains(struct spk_rescale *out, const int32_t **fraction, uint32_t channels,
                               const int8_t *gain, const int8_t *bias, uint32_t *table) {
    const uint32_t padded = (channels + 3) & ~3u;
    int32_t *const biases = (int32_t *)table;
    int32_t *const multipliers = biases + padded;
    int32_t *const fractions = multipliers + padded;
    int8_t *const shifts = (int8_t *)(fraction != 0 ? fractions + padded : fractions);
    for (uint32_t o = 0; o < padded; o++) {
        const int32_t mark = out->shift[o] >= SPK_FAR - 31 ? SPK_FAR : 0;
        struct spk_factor f = {out->multiplier[o], 0, out->shift[o] - mark};
        biases[o] = out->bias[o];
        if (fraction != 0) {
            f.fraction = o < channels ? (*fraction)[o] : 0;
        }
        if (o < channels) {
            biases[o] += spk_added_bias(bias[o], f.shift);
            f = spk_with_gain(f, fraction != 0, gain[o]);
        }
        multipliers[o] = f.multiplier;
        shifts[o] = (int8_t)(f.shift + mark);
        if (fraction != 0) {
            fractions[o] = f.fraction;
        }
    }
    out->bias = biases;
    out->multiplier = multipliers;
    out->shift = shifts;
    if (fraction != 0) {
        *fraction = fractions;
    }
}

// The ends and the zero point of codes of half the resolution.
SPK_INLINE void spk_halve_codes(struct spk_rescale *out) {
    out->zero_point = 0;
    out->low = INT8_MIN;
    out->high = INT8_MAX;
}

// Points `out` to codes of half the resolution, with zero point 0 and no activation; nothing where
// half[0] is 0. table: (channels,) bytes, by fours.
SPK_SHARED void spk_halve(struct spk_rescale *out, uint32_t channels, const uint8_t *half,
                          uint32_t *table) {
    int8_t *const shifts = (int8_t *)table;
    if (half[0] == 0) {
        return;
    }
    for (uint32_t o = 0; o < ((channels + 3) & ~3u); o++) {
        const int32_t shift = out->shift[o];
        const bool least = shift == -31 || shift == SPK_FAR - 31;
        shifts[o] = (int8_t)(least ? shift : shift - 1);
    }
    out->shift = shifts;
    spk_halve_codes(out);
}

#if defined(__ARM_FEATURE_DSP)
// spk_fold_gains of scales; table: (channels,).
SPK_SHARED void spk_fold_scales(const struct spk_scale **scales, uint32_t channels,
                                const int8_t *gain, const int8_t *bias, uint32_t *table) {
    const struct spk_scale *from = *scales;
    struct spk_scale *to = (struct spk_scale *)(void *)table;
    *scales = to;
    for (uint32_t o = 0; o < channels; o++, from++, to++) {
        const bool marked = from->right >= 64;
        const int32_t shift = marked ? (int32_t)from->right - SPK_FAR : -(int32_t)from->right;
        const struct spk_factor f =
            spk_with_gain((struct spk_factor){from->multiplier, 0, shift}, false, gain[o]);
        const int32_t added = spk_added_bias(bias[o], shift);
        to->multiplier = f.multiplier;
        if (marked) {
            to->bias = from->bias + added;
            to->offset = 0;
            to->right = (uint32_t)(f.shift + SPK_FAR);
        } else {
            to->bias = from->bias + 2 * added;
            to->right = (uint32_t)-f.shift;
            to->offset = (from->offset >> (from->right - 1)) * (1 << (to->right - 1));
        }
    }
}

// spk_halve of scales; table: (channels,).
SPK_SHARED void spk_halve_scales(struct spk_rescale *out, const struct spk_scale **scales,
                                 uint32_t channels, const uint8_t *half, uint32_t *table) {
    struct spk_scale *const to = (struct spk_scale *)(void *)table;
    if (half[0] == 0) {
        return;
    }
    for (uint32_t o = 0; o < channels; o++) {
        to[o] = (*scales)[o];
        if (to[o].right < 64) {
            to[o].offset = 1 << to[o].right++;
        } else if (to[o].right > SPK_FAR - 31) {
            to[o].right--;
        }
    }
    *scales = to;
    spk_halve_codes(out);
}
#endif

#endif
