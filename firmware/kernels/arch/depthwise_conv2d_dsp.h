// Depthwise convolution for Arm cores with the DSP extension; see depthwise_conv2d.h.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_DEPTHWISE_CONV2D_DSP_H
#define SPK_DEPTHWISE_CONV2D_DSP_H

#include "kernels/arch/depthwise_conv2d_taps.h"
#include "kernels/arch/dsp.h"

// Adds one tap of four channels: even and odd ones, from two words of weights each.
#define SPK_DSP_TAP                                                                                \
    "ldr r4, [%[tap]], #4\n"                                                                       \
    "ldmia %[weights]!, {r6, r8}\n"                                                                \
    "ldr r4, [r4, %[first]]\n"                                                                     \
    "sxtb16 r5, r4\n"                                                                              \
    "sxtb16 r4, r4, ror #8\n"                                                                      \
    "smlabb %[a], r5, r6, %[a]\n"                                                                  \
    "smlabb %[b], r4, r8, %[b]\n"                                                                  \
    "smlatt %[c], r5, r6, %[c]\n"                                                                  \
    "smlatt %[d], r4, r8, %[d]\n"

// weights: (quads, taps, 2) words, of channels 0 and 2, then of 1 and 3 of a quad; the last quad
// ends with the last channel, of at least 4. One output a channel. list: (taps,).
SPK_INLINE void spk_depthwise_dsp(bool wide, const struct spk_depthwise_taps *c,
                                  const int8_t *input, const int8_t **list, int8_t *output) {
    const uint32_t last = c->geometry.channels - 4u;
    const int8_t *const *const end =
        list + (uint32_t)c->geometry.kernel_height * c->geometry.kernel_width;
    struct spk_depthwise_pixel at = {0};
    int8_t *to = output;
    for (uint32_t y = 0; y < c->geometry.out_height; y++) {
        for (uint32_t x = 0; x < c->geometry.out_width; x++) {
            const uint32_t *weights = c->weights;
            spk_depthwise_next(c, y, x, input, list, &at);
            for (uint32_t o = 0; o <= last + 3; o += 4) {
                const uint32_t channel = spk_min_u32(o, last);
                const struct spk_scale *scale = c->scales + channel;
                const int8_t *const *tap = list;
                int32_t s0 = 0;
                int32_t s1 = 0;
                int32_t s2 = 0;
                int32_t s3 = 0;
                __asm__ volatile("sub r4, %[end], %[tap]\n"
                                 "tst r4, #4\n" // an odd number of taps
                                 "bne 2f\n"
                                 "1:\n" SPK_DSP_TAP "2:\n" SPK_DSP_TAP "cmp %[tap], %[end]\n"
                                 "bne 1b\n"
                                 : [tap] "+r"(tap), [weights] "+r"(weights), [a] "+r"(s0),
                                   [b] "+r"(s1), [c] "+r"(s2), [d] "+r"(s3)
                                 : [end] "r"(end), [first] "r"(at.offset + channel)
                                 : "r4", "r5", "r6", "r8", "cc", "memory");
                const int32_t sum[4] = {s0, s1, s2, s3};
                SPK_UNROLL(4)
                for (uint32_t k = 0; k < 4; k++) {
                    const struct spk_scale s = spk_next_scale_dsp(&scale);
                    to[channel + k] = wide ? spk_rescale_dsp_wide(&c->out, &s, sum[k])
                                           : spk_rescale_dsp(&s, sum[k] * 2);
                }
            }
            to += last + 4;
        }
    }
    spk_clamp_codes(&c->out, output, (uint32_t)(to - output));
}

SPK_DEPTHWISE_TAPS(dsp)

#endif
