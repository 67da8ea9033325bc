// What int8 kernels share on cores with the M-profile vector extension (Cortex-M55, M85).
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_MVE_H
#define SPK_MVE_H

#include <arm_mve.h>

#include "kernels/requantise.h"

// Codes of the sums of four channels in a layer with `even`.
SPK_SHARED void spk_mve_even(const struct spk_rescale *out, uint32_t at, int32_t *sums) {
    for (uint32_t k = 0; k < 4; k++) {
        sums[k] = spk_rescale_even(out, sums[k], (uint32_t)out->multiplier[at + k]);
    }
}

// Sums without bias, scaled, in lanes of 32 bits, with the zero point; `at` is the place of the
// first in the arrays. The doubled high product and the shift round as they are asked to, but for
// halves of negative values, which go away from zero. `wide`: a shift may also be 0 or to the left.
SPK_INLINE int32x4_t spk_mve_scaled(const struct spk_rescale *out, bool wide, int32x4_t sum,
                                    uint32_t at) {
    int32x4_t x = vaddq_s32(sum, vldrwq_s32(out->bias + at));
    if (wide && spk_is_even(out)) {
        int32_t sums[4];
        vstrwq_s32(sums, x);
        spk_mve_even(out, at, sums);
        return vldrwq_s32(sums);
    }
    if (wide) {
        const int32x4_t shift = vldrbq_s32(out->shift + at);
        const int32x4_t none = vdupq_n_s32(0);
        x = vshlq_s32(x, vmaxq_s32(shift, none));
        x = vqrdmulhq_s32(x, vldrwq_s32(out->multiplier + at));
        x = vaddq_s32(x, vshrq_n_s32(vandq_s32(x, shift), 31));
        x = vrshlq_s32(x, vminq_s32(shift, none));
        return vqaddq_n_s32(x, out->zero_point);
    }
    x = vqrdmulhq_s32(x, vldrwq_s32(out->multiplier + at));
    x = vaddq_s32(x, vshrq_n_s32(x, 31));
    x = vrshlq_s32(x, vldrbq_s32(out->shift + at));
    return vaddq_n_s32(x, out->zero_point);
}

// Codes of them.
SPK_INLINE int32x4_t spk_mve_rescale(const struct spk_rescale *out, bool wide, int32x4_t sum,
                                     uint32_t at) {
    const int32x4_t x = vmaxq_s32(spk_mve_scaled(out, wide, sum, at), vdupq_n_s32(out->low));
    return vminq_s32(x, vdupq_n_s32(out->high));
}

// The same in the whole range of codes, where no registers are left for its ends.
SPK_INLINE int32x4_t spk_mve_rescale_whole(const struct spk_rescale *out, bool wide, int32x4_t sum,
                                           uint32_t at) {
    int32x4_t x = spk_mve_scaled(out, wide, sum, at);
    __asm__("vqmovnb.s32 %q0, %q0\n"
            "vqmovnb.s16 %q0, %q0"
            : "+w"(x));
    return x;
}

// Sums of four channels into `sum`, from sixteen codes of `x` at a time, which lie in q0: `body`
// reads `weights` on with %[w], and adds to r0, r2, r4 and r6. It takes q1 and q2. The loop masks
// what lies past the last tap; behind `body` the inputs of the assembly, `taps` among them.
#define SPK_MVE_SUMS(before, body, ...)                                                            \
    __asm__("movs r0, #0\n"                                                                        \
            "movs r2, #0\n"                                                                        \
            "movs r4, #0\n"                                                                        \
            "movs r6, #0\n" before "dlstp.8 lr, %[taps]\n"                                         \
            "1:\n"                                                                                 \
            "vldrb.8 q0, [%[x]], #16\n" body "letp lr, 1b\n"                                       \
            "vmov %q[sum][2], %q[sum][0], r0, r4\n"                                                \
            "vmov %q[sum][3], %q[sum][1], r2, r6\n"                                                \
            : [x] "+r"(x), [w] "+r"(weights), [sum] "=w"(sum)                                      \
            : __VA_ARGS__                                                                          \
            : "r0", "r2", "r4", "r6", "lr", "q0", "q1", "q2", "cc", "memory")
#define SPK_MVE_CHANNEL(sum, q) "vldrb.8 " q ", [%[w]], #16\nvmladava.s8 " sum ", q0, " q "\n"

// Sums of four channels. x: (taps,); weights: (taps / 16 rounded up, 4, 16).
SPK_INLINE int32x4_t spk_mve_dot(const int8_t *x, const int8_t *weights, uint32_t taps) {
    int32x4_t sum;
    SPK_MVE_SUMS("",
                 SPK_MVE_CHANNEL("r0", "q1") SPK_MVE_CHANNEL("r2", "q2") SPK_MVE_CHANNEL("r4", "q1")
                     SPK_MVE_CHANNEL("r6", "q2"),
                 [taps] "r"(taps));
    return sum;
}

// The same of taps that a few vectors hold. weights: (vectors, 4, 16).
SPK_INLINE int32x4_t spk_mve_dot_held(const int8x16_t *x, uint32_t vectors, const int8_t *weights) {
    int32_t sum[4];
    SPK_UNROLL(4)
    for (uint32_t k = 0; k < 4; k++) {
        sum[k] = vmladavq_s8(x[0], vld1q_s8(weights + 16 * k));
        SPK_UNROLL(3)
        for (uint32_t v = 1; v < vectors; v++) {
            sum[k] = vmladavaq_s8(sum[k], x[v], vld1q_s8(weights + 64 * v + 16 * k));
        }
    }
    int32x4_t sums;
    __asm__("vmov %q0[2], %q0[0], %1, %3\n"
            "vmov %q0[3], %q0[1], %2, %4"
            : "=&w"(sums)
            : "r"(sum[0]), "r"(sum[1]), "r"(sum[2]), "r"(sum[3]));
    return sums;
}

enum { SPK_MVE_HELD = 3 }; // vectors at most

// Four channels of one output; vectors: that hold the taps, or 0.
SPK_INLINE int32x4_t spk_mve_four(const struct spk_rescale *out, bool wide, const int8_t *x,
                                  const int8x16_t *held, uint32_t vectors, const int8_t *weights,
                                  uint32_t taps, uint32_t at) {
    const int32x4_t sums =
        vectors ? spk_mve_dot_held(held, vectors, weights) : spk_mve_dot(x, weights, taps);
    return spk_mve_rescale(out, wide, sums, at);
}

// All channels of one output. weights: (channels / 4, taps / 16, 4, 16), both rounded up.
SPK_INLINE void spk_mve_outputs(const struct spk_rescale *out, bool wide, const int8_t *x,
                                uint32_t vectors, const int8_t *weights, uint32_t taps,
                                uint32_t channels, int8_t *to) {
    const uint32_t step = (vectors ? vectors : (taps + 15) / 16) * 64;
    int8x16_t held[SPK_MVE_HELD];
    SPK_UNROLL(3)
    for (uint32_t v = 0; v < vectors; v++) {
        held[v] = vldrbq_z_s8(x + 16 * v, vctp8q(taps - 16 * v));
    }
    uint32_t o = 0;
    for (; o + 4 <= channels; o += 4) {
        vstrbq_s32(to + o, spk_mve_four(out, wide, x, held, vectors, weights, taps, o));
        weights += step;
    }
    if (o < channels) {
        vstrbq_p_s32(to + o, spk_mve_four(out, wide, x, held, vectors, weights, taps, o),
                     vctp32q(channels - o));
    }
}

// n > 0.
SPK_INLINE void spk_mve_copy(int8_t *to, const int8_t *from, uint32_t n) {
    __asm__ volatile("dlstp.8 lr, %[n]\n"
                     "1:\n"
                     "vldrb.8 q0, [%[from]], #16\n"
                     "vstrb.8 q0, [%[to]], #16\n"
                     "letp lr, 1b\n"
                     : [from] "+r"(from), [to] "+r"(to)
                     : [n] "r"(n)
                     : "lr", "q0", "memory");
}

#endif
