// Weights of 1, 2 or 4 bits. Golden twin: `levels` in pytools/spikelet/graph/quantised.py.
// SPDX-License-Identifier: Apache-2.0
//
// A code k of b bits lies as the field k + 2^(b - 1), so that a field is never negative, the lowest
// bits of a word first. Fields are multiplied as they lie. What that has too much, and the 2 and
// the 1 of an odd grid (k stands for 2k + 1), comes in with the sum of the inputs, once for all
// channels: sum x * weight = factor * sum x * field + inputs * sum x, see spk_grid.
#ifndef SPK_PACKED_H
#define SPK_PACKED_H

#include "kernels/fixed.h"

struct spk_grid {
    uint32_t factor; // 1, or 2 of an odd grid
    uint32_t inputs; // modulo 2^32
};

// bits: 8 where the codes lie as they are. upper: how many of those bits count; the others are half
// of a step.
SPK_INLINE struct spk_grid spk_grid(uint32_t bits, bool odd, uint32_t upper) {
    const uint32_t raised = bits < 8 ? 1u << (bits - 1) : 0;
    const uint32_t half = 1u << (8 - upper);
    const struct spk_grid grid = {odd ? 2 : 1, odd ? half - 2 * raised : 0 - raised};
    return grid;
}

// The same where all codes lie as fields, those of 8 bits too, and only their upper bits are taken.
SPK_INLINE struct spk_grid spk_planes_grid(uint32_t bits, bool odd, uint32_t upper) {
    const uint32_t raised = 1u << (bits - 1);
    const uint32_t step = 1u << (8 - upper);
    const struct spk_grid grid = {(odd ? 2 : 1) * step, odd ? step - 2 * raised : 0 - raised};
    return grid;
}

// What is left of a code of 8 bits.
SPK_INLINE int32_t spk_upper_mask(uint32_t upper) {
    return -(int32_t)(1u << (8 - upper));
}

// How many fields of weights may meet inputs of 8 bits before their sum leaves 16 bits: whole
// words, an even number of them where it is more than one.
SPK_INLINE uint32_t spk_packed_run(uint32_t bits) {
    return bits == 4 ? 2 : bits == 2 ? 5 : 7;
}

// Sums of four channels of `pairs` pairs of pixels, as spk_conv2d_sums makes them, but with the
// second pixels' sums whole. words: (taps, pairs), up to `end`, taps by 32 / bits;
// weights: (words of fields, 4).
SPK_INLINE void spk_packed_sums(const uint32_t *words, uint32_t pairs, uint32_t bits,
                                const uint32_t *weights, uint32_t *end) {
    const uint32_t mask = (1u << bits) - 1;
    uint32_t both[4][2] = {{0}};
    uint32_t high[4][2] = {{0}};
    do {
        uint32_t part[4][2] = {{0}};
        for (uint32_t i = spk_packed_run(bits); i > 0 && words < end; i--) {
            uint32_t w[4];
            for (uint32_t k = 0; k < 4; k++) {
                w[k] = *weights++;
            }
            for (uint32_t tap = 0; tap < 32; tap += bits) {
                for (uint32_t k = 0; k < 4; k++) {
                    const uint32_t field = w[k] & mask;
                    w[k] >>= bits;
                    for (uint32_t p = 0; p < pairs; p++) {
                        part[k][p] += words[p] * field;
                    }
                }
                words += pairs;
            }
        }
        for (uint32_t k = 0; k < 4; k++) {
            for (uint32_t p = 0; p < pairs; p++) {
                both[k][p] += part[k][p];
                high[k][p] += (uint32_t)((int32_t)(part[k][p] + 0x8000u) >> 16);
            }
        }
    } while (words < end);
    for (uint32_t k = 0; k < 4; k++) {
        for (uint32_t p = 0; p < pairs; p++) {
            *end++ = both[k][p];
            *end++ = high[k][p];
        }
    }
}

// Sums of the inputs themselves: (pairs, 2), as above. words: (taps, pairs), up to `end`.
SPK_INLINE void spk_packed_inputs(const uint32_t *words, uint32_t pairs, const uint32_t *end,
                                  uint32_t *sums) {
    for (uint32_t p = 0; p < pairs; p++) {
        uint32_t both = 0;
        uint32_t high = 0;
        for (const uint32_t *at = words + p; at < end; at += pairs) {
            both += *at;
            high += (uint32_t)((int32_t)(*at + 0x8000u) >> 16);
        }
        sums[2 * p] = both;
        sums[2 * p + 1] = high;
    }
}

// Sums of four channels of one vector; n inputs, weights: (words of fields, 4).
SPK_INLINE void spk_packed_dot(const int8_t *from, uint32_t n, uint32_t bits,
                               const uint32_t *weights, int32_t *sum) {
    const uint32_t mask = (1u << bits) - 1;
    const int8_t *const end = from + n;
    int32_t a = 0, b = 0, c = 0, d = 0;
    do {
        uint32_t w[4];
        for (uint32_t k = 0; k < 4; k++) {
            w[k] = *weights++;
        }
        for (uint32_t left = 32 / bits; left > 0 && from < end; left--) {
            const int32_t x = *from++;
            a += x * (int32_t)(w[0] & mask);
            b += x * (int32_t)(w[1] & mask);
            c += x * (int32_t)(w[2] & mask);
            d += x * (int32_t)(w[3] & mask);
            for (uint32_t k = 0; k < 4; k++) {
                w[k] >>= bits;
            }
        }
    } while (from < end);
    sum[0] = a;
    sum[1] = b;
    sum[2] = c;
    sum[3] = d;
}

#endif
