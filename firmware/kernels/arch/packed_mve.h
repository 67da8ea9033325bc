// Weights of 1, 2 or 4 bits on cores with the M-profile vector extension (Cortex-M55, M85).
// SPDX-License-Identifier: Apache-2.0
//
// A byte holds the fields of 2, 4 or 8 channels of one tap: each raised as packed.h says, the last
// one in two's complement. A dual multiply takes them with the others masked out, and the sums are
// shifted back; they are multiples of the field's place, so no bit is lost. Of 4 bits the byte is
// taken as it is, and the sum of its low field subtracted. Of 8 bits, an odd grid, the bits that do
// not count are masked out.
#ifndef SPK_PACKED_MVE_H
#define SPK_PACKED_MVE_H

#include "kernels/arch/mve.h"
#include "kernels/packed.h"

// Sum of n codes.
SPK_INLINE int32_t spk_packed_mve_total(const int8_t *x, uint32_t n) {
    int32_t sum;
    __asm__("movs r0, #0\n"
            "dlstp.8 lr, %[n]\n"
            "1:\n"
            "vldrb.8 q0, [%[x]], #16\n"
            "vaddva.s8 r0, q0\n"
            "letp lr, 1b\n"
            "mov %[sum], r0\n"
            : [x] "+r"(x), [sum] "=r"(sum)
            : [n] "r"(n)
            : "r0", "lr", "q0", "cc", "memory");
    return sum;
}

// What the sums of four channels have too little. `last`: their last field is the last of a byte.
SPK_INLINE int32x4_t spk_packed_mve_more(uint32_t bits, bool odd, bool last, int32_t total) {
    const int32_t raised = (int32_t)spk_grid(bits, odd, 8).inputs * total;
    const int32_t plain = odd ? total : 0;
    const int32x4_t more = vdupq_n_s32(raised);
    return bits == 4 ? vsetq_lane_s32(plain, vsetq_lane_s32(plain, more, 1), 3)
           : last    ? vsetq_lane_s32(plain, more, 3)
                     : more;
}

// Sums of four channels of 4 bits. x: (taps,); weights: (taps / 16 rounded up, 2, 16), a byte of
// the first two channels and one of the others.
SPK_INLINE int32x4_t spk_packed_mve_fours(const int8_t *x, const int8_t *weights, uint32_t taps) {
    int32x4_t sum;
    __asm__("movs r0, #0\n"
            "movs r2, #0\n"
            "movs r4, #0\n"
            "movs r6, #0\n"
            "vmov.i8 q3, #15\n"
            "dlstp.8 lr, %[taps]\n"
            "1:\n"
            "vldrb.8 q0, [%[x]], #16\n"
            "vldrb.8 q1, [%[w]], #16\n"
            "vmladava.s8 r0, q0, q1\n"
            "vand q1, q1, q3\n"
            "vldrb.8 q2, [%[w]], #16\n"
            "vmladava.s8 r2, q0, q1\n"
            "vmladava.s8 r4, q0, q2\n"
            "vand q2, q2, q3\n"
            "vmladava.s8 r6, q0, q2\n"
            "letp lr, 1b\n"
            "subs r0, r0, r2\n"
            "subs r4, r4, r6\n"
            "asrs r0, r0, #4\n"
            "asrs r4, r4, #4\n"
            "vmov %q[sum][2], %q[sum][0], r2, r6\n"
            "vmov %q[sum][3], %q[sum][1], r0, r4\n"
            : [x] "+r"(x), [w] "+r"(weights), [sum] "=w"(sum)
            : [taps] "r"(taps)
            : "r0", "r2", "r4", "r6", "lr", "q0", "q1", "q2", "q3", "cc", "memory");
    return sum;
}

// The same of up to 64 taps, which four vectors hold.
SPK_INLINE int32x4_t spk_packed_mve_held(const int8x16_t *x, const int8_t *weights) {
    const int8x16_t mask = vdupq_n_s8(15);
    int32_t both[2];
    int32_t low[2];
    SPK_UNROLL(2)
    for (uint32_t k = 0; k < 2; k++) {
        int8x16_t w = vld1q_s8(weights + 16 * k);
        both[k] = vmladavq_s8(x[0], w);
        low[k] = vmladavq_s8(x[0], vandq_s8(w, mask));
        SPK_UNROLL(4)
        for (uint32_t v = 1; v < 4; v++) {
            w = vld1q_s8(weights + 32 * v + 16 * k);
            both[k] = vmladavaq_s8(both[k], x[v], w);
            low[k] = vmladavaq_s8(low[k], x[v], vandq_s8(w, mask));
        }
    }
    int32x4_t sums;
    __asm__("vmov %q0[2], %q0[0], %1, %3\n"
            "vmov %q0[3], %q0[1], %2, %4"
            : "=&w"(sums)
            : "r"(low[0]), "r"((both[0] - low[0]) >> 4), "r"(low[1]), "r"((both[1] - low[1]) >> 4));
    return sums;
}

#define SPK_PACKED_MVE_FIELD(sum, mask)                                                            \
    "vand q2, q1, %q[" mask "]\n"                                                                  \
    "vmladava.s8 " sum ", q0, q2\n"

// Sums of four channels of 1 or 2 bits. first: the place of their first field in a byte; weights:
// (taps / 16 rounded up, 16).
SPK_INLINE int32x4_t spk_packed_mve_fields(uint32_t bits, uint32_t first, const int8_t *x,
                                           const int8_t *weights, uint32_t taps) {
    const uint32_t field = ((1u << bits) - 1) << first;
    int8x16_t m0 = vdupq_n_s8((int8_t)field);
    int8x16_t m1 = vdupq_n_s8((int8_t)(field << bits));
    int8x16_t m2 = vdupq_n_s8((int8_t)(field << 2 * bits));
    int8x16_t m3 = vdupq_n_s8((int8_t)(field << 3 * bits));
    int32x4_t sum;
    SPK_MVE_SUMS("",
                 "vldrb.8 q1, [%[w]], #16\n" SPK_PACKED_MVE_FIELD("r0", "m0")
                     SPK_PACKED_MVE_FIELD("r2", "m1") SPK_PACKED_MVE_FIELD("r4", "m2")
                         SPK_PACKED_MVE_FIELD("r6", "m3"),
                 [taps] "r"(taps), [m0] "w"(m0), [m1] "w"(m1), [m2] "w"(m2), [m3] "w"(m3));
    const int32_t at = -(int32_t)first;
    const int32_t step = (int32_t)bits;
    const int32x4_t back = {at, at - step, at - 2 * step, at - 3 * step};
    return vshlq_s32(sum, back);
}

#define SPK_PACKED_MVE_EIGHT(sum)                                                                  \
    "vldrb.8 q1, [%[w]], #16\n"                                                                    \
    "vand q1, q1, q2\n"                                                                            \
    "vmladava.s8 " sum ", q0, q1\n"

// Sums of four channels of 8 bits, of which the upper ones count. weights: (taps / 16 rounded up,
// 4, 16).
SPK_INLINE int32x4_t spk_packed_mve_eights(uint32_t upper, const int8_t *x, const int8_t *weights,
                                           uint32_t taps) {
    if (upper == 8) {
        return spk_mve_dot(x, weights, taps);
    }
    int32x4_t sum;
    SPK_MVE_SUMS("vdup.8 q2, %[mask]\n",
                 SPK_PACKED_MVE_EIGHT("r0") SPK_PACKED_MVE_EIGHT("r2") SPK_PACKED_MVE_EIGHT("r4")
                     SPK_PACKED_MVE_EIGHT("r6"),
                 [taps] "r"(taps), [mask] "r"(spk_upper_mask(upper)));
    return sum;
}

// Sums of the four channels from `channel` on as their grid means them, of inputs whose sum is
// `total`. *weights: (taps / 16, 4, 16) of 8 bits, (taps / 16, 2, 16) of 4 bits, (taps / 16, 16) of
// 2, and of 1 for eight channels, rounded up; moves on.
SPK_INLINE int32x4_t spk_packed_mve_dot(uint32_t bits, bool odd, uint32_t upper, uint32_t channel,
                                        const int8_t *x, uint32_t taps, int32_t total,
                                        const int8_t **weights) {
    const bool second = bits == 1 && channel % 8 == 4;
    const uint32_t first = second ? 4 : 0;
    const int32x4_t sums = bits == 8   ? spk_packed_mve_eights(upper, x, *weights, taps)
                           : bits == 4 ? spk_packed_mve_fours(x, *weights, taps)
                                       : spk_packed_mve_fields(bits, first, x, *weights, taps);
    if (bits > 1 || second) {
        *weights += (taps + 15) / 16 * (bits == 8 ? 64 : bits == 4 ? 32 : 16);
    }
    const int32x4_t more = bits == 8 ? vdupq_n_s32((int32_t)spk_grid(8, odd, upper).inputs * total)
                                     : spk_packed_mve_more(bits, odd, bits == 2 || second, total);
    return vaddq_s32(odd ? vaddq_s32(sums, sums) : sums, more);
}

// All channels of one output of up to 64 taps, of 4 bits; codes may have the whole range.
// weights: (channels / 4 rounded up, 4, 2, 16).
SPK_INLINE void spk_packed_mve_64(const struct spk_rescale *of, bool wide, bool odd,
                                  const int8_t *x, const int8_t *weights, uint32_t taps,
                                  uint32_t channels, int8_t *to) {
    const struct spk_rescale out = *of;
    const int32_t total = spk_packed_mve_total(x, taps);
    const int32x4_t more = spk_packed_mve_more(4, odd, false, total);
    int8x16_t kept[4];
    SPK_UNROLL(4)
    for (uint32_t v = 0; v < 4; v++) {
        kept[v] = vldrbq_z_s8(x + 16 * v, vctp8q(taps > 16 * v ? taps - 16 * v : 0));
    }
    uint32_t o = 0;
    for (; o + 4 <= channels; o += 4, weights += 128) {
        const int32x4_t sums = spk_packed_mve_held(kept, weights);
        const int32x4_t whole = vaddq_s32(odd ? vaddq_s32(sums, sums) : sums, more);
        vstrbq_s32(to + o, spk_mve_rescale_whole(&out, wide, whole, o));
    }
    if (o < channels) {
        const int32x4_t sums = spk_packed_mve_held(kept, weights);
        const int32x4_t whole = vaddq_s32(odd ? vaddq_s32(sums, sums) : sums, more);
        vstrbq_p_s32(to + o, spk_mve_rescale_whole(&out, wide, whole, o), vctp32q(channels - o));
    }
}

// In functions of their own: the loop has the registers for itself.
#define SPK_PACKED_MVE_64(name, wide, odd)                                                         \
    SPK_SHARED void spk_packed_mve_64##name(const struct spk_rescale *out, const int8_t *x,        \
                                            const int8_t *weights, uint32_t taps,                  \
                                            uint32_t channels, int8_t *to) {                       \
        spk_packed_mve_64(out, wide, odd, x, weights, taps, channels, to);                         \
    }
SPK_PACKED_MVE_64(_4, false, false)
SPK_PACKED_MVE_64(_4_wide, true, false)
SPK_PACKED_MVE_64(_4_odd, false, true)
SPK_PACKED_MVE_64(_4_odd_wide, true, true)

SPK_INLINE void spk_packed_mve_64_outputs(const struct spk_rescale *out, bool wide, bool odd,
                                          const int8_t *x, const int8_t *weights, uint32_t taps,
                                          uint32_t channels, int8_t *to) {
    if (wide && odd) {
        spk_packed_mve_64_4_odd_wide(out, x, weights, taps, channels, to);
    } else if (wide) {
        spk_packed_mve_64_4_wide(out, x, weights, taps, channels, to);
    } else if (odd) {
        spk_packed_mve_64_4_odd(out, x, weights, taps, channels, to);
    } else {
        spk_packed_mve_64_4(out, x, weights, taps, channels, to);
    }
}

// All channels of one output, see spk_mve_outputs; weights: as spk_packed_mve_dot asks for.
SPK_INLINE void spk_packed_mve_outputs(const struct spk_rescale *out, bool wide, uint32_t bits,
                                       bool odd, uint32_t upper, const int8_t *x,
                                       const int8_t *weights, uint32_t taps, uint32_t channels,
                                       int8_t *to) {
    const int32_t total = spk_packed_mve_total(x, taps);
    uint32_t o = 0;
    for (; o + 4 <= channels; o += 4) {
        const int32x4_t sums = spk_packed_mve_dot(bits, odd, upper, o, x, taps, total, &weights);
        vstrbq_s32(to + o, spk_mve_rescale(out, wide, sums, o));
    }
    if (o < channels) {
        const int32x4_t sums = spk_packed_mve_dot(bits, odd, upper, o, x, taps, total, &weights);
        vstrbq_p_s32(to + o, spk_mve_rescale(out, wide, sums, o), vctp32q(channels - o));
    }
}

#endif
