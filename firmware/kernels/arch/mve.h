// What int8 kernels share on cores with the M-profile vector extension (Cortex-M55, M85).
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_MVE_H
#define SPK_MVE_H

#include <arm_mve.h>

#include "kernels/requantise.h"

// Codes, in lanes of 32 bits, from sums without bias; `at` is the place of the first in the arrays.
// As spk_requantise_near: the doubled high product and the shift round as they are asked to, but
// for halves of negative values, which go away from zero.
SPK_INLINE int32x4_t spk_mve_rescale(const struct spk_rescale *out, int32x4_t sum, uint32_t at) {
    int32x4_t x = vaddq_s32(sum, vldrwq_s32(out->bias + at));
    x = vqrdmulhq_s32(x, vldrwq_s32(out->multiplier + at));
    x = vaddq_s32(x, vshrq_n_s32(x, 31));
    x = vrshlq_s32(x, vldrbq_s32(out->shift + at));
    x = vaddq_n_s32(x, out->zero_point);
    x = vmaxq_s32(x, vdupq_n_s32(out->low));
    return vminq_s32(x, vdupq_n_s32(out->high));
}

// Sums of four channels. x: (taps,); weights: (taps / 16 rounded up, 4, 16). The loop masks what
// lies past the last tap.
SPK_INLINE int32x4_t spk_mve_dot(const int8_t *x, const int8_t *weights, uint32_t taps) {
    int32x4_t sum;
    __asm__("movs r0, #0\n"
            "movs r2, #0\n"
            "movs r4, #0\n"
            "movs r6, #0\n"
            "dlstp.8 lr, %[taps]\n"
            "1:\n"
            "vldrb.8 q0, [%[x]], #16\n"
            "vldrb.8 q1, [%[w]], #16\n"
            "vmladava.s8 r0, q0, q1\n"
            "vldrb.8 q2, [%[w]], #16\n"
            "vmladava.s8 r2, q0, q2\n"
            "vldrb.8 q1, [%[w]], #16\n"
            "vmladava.s8 r4, q0, q1\n"
            "vldrb.8 q2, [%[w]], #16\n"
            "vmladava.s8 r6, q0, q2\n"
            "letp lr, 1b\n"
            "vmov %q[sum][2], %q[sum][0], r0, r4\n"
            "vmov %q[sum][3], %q[sum][1], r2, r6\n"
            : [x] "+r"(x), [w] "+r"(weights), [sum] "=w"(sum)
            : [taps] "r"(taps)
            : "r0", "r2", "r4", "r6", "lr", "q0", "q1", "q2", "cc", "memory");
    return sum;
}

// All channels of one output. weights: (channels / 4, taps / 16, 4, 16), both rounded up.
SPK_INLINE void spk_mve_outputs(const struct spk_rescale *out, const int8_t *x,
                                const int8_t *weights, uint32_t taps, uint32_t channels,
                                int8_t *to) {
    const uint32_t step = (taps + 15) / 16 * 64;
    for (uint32_t o = 0; o < channels; o += 4) {
        const int32x4_t codes = spk_mve_rescale(out, spk_mve_dot(x, weights, taps), o);
        if (o + 4 <= channels) {
            vstrbq_s32(to + o, codes);
        } else {
            vstrbq_p_s32(to + o, codes, vctp32q(channels - o));
        }
        weights += step;
    }
}

SPK_INLINE void spk_mve_copy(int8_t *to, const int8_t *from, uint32_t n) {
    __asm__ volatile("wlstp.8 lr, %[n], 2f\n"
                     "1:\n"
                     "vldrb.8 q0, [%[from]], #16\n"
                     "vstrb.8 q0, [%[to]], #16\n"
                     "letp lr, 1b\n"
                     "2:\n"
                     : [from] "+r"(from), [to] "+r"(to)
                     : [n] "r"(n)
                     : "lr", "q0", "memory");
}

#endif
