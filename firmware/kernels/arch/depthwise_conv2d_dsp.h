// Depthwise convolution for Arm cores with the DSP extension; see depthwise_conv2d.h.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_DEPTHWISE_CONV2D_DSP_H
#define SPK_DEPTHWISE_CONV2D_DSP_H

#include "kernels/arch/depthwise_conv2d_taps.h"
#include "kernels/arch/dsp.h"

// Adds one tap of four channels. even: weights of channels 0 and 2.
SPK_INLINE void spk_depthwise_dsp_add(const int8_t *from, uint32_t even, uint32_t odd,
                                      int32_t *sum) {
    uint32_t word;
    __builtin_memcpy(&word, from, 4);
    uint32_t x = spk_sxtb16(word);
    __asm__("smlabb %0, %1, %2, %0" : "+r"(sum[0]) : "r"(x), "r"(even));
    __asm__("smlatt %0, %1, %2, %0" : "+r"(sum[2]) : "r"(x), "r"(even));
    x = spk_sxtb16_high(word);
    __asm__("smlabb %0, %1, %2, %0" : "+r"(sum[1]) : "r"(x), "r"(odd));
    __asm__("smlatt %0, %1, %2, %0" : "+r"(sum[3]) : "r"(x), "r"(odd));
}

// weights: (quads, taps, 2), of channels 0 and 2, then of 1 and 3 of a quad; the last quad ends
// with the last channel, of at least 4. One output a channel; up to SPK_DEPTHWISE_TAPS taps, an odd
// number of them.
SPK_SHARED void spk_depthwise_conv2d_dsp(const struct spk_depthwise_taps *c, const int8_t *input,
                                         int8_t *output) {
    const int8_t *taps[SPK_DEPTHWISE_TAPS];
    int8_t *to = output;
    for (uint32_t y = 0; y < c->out_height; y++) {
        for (uint32_t x = 0; x < c->out_width; x++, to += c->channels) {
            const int8_t **const end = spk_depthwise_find(c, y, x, input, taps);
            const uint32_t *weights = c->weights;
            const uint32_t last = c->channels - 4u;
            uint32_t channel = 0;
            for (;;) {
                const struct spk_scale *scale = c->scales + channel;
                const int8_t **tap = taps;
                int32_t sum[4] = {0, 0, 0, 0};
                spk_depthwise_dsp_add(*tap++ + channel, weights[0], weights[1], sum);
                weights += 2;
                while (tap < end) {
                    spk_depthwise_dsp_add(tap[0] + channel, weights[0], weights[1], sum);
                    spk_depthwise_dsp_add(tap[1] + channel, weights[2], weights[3], sum);
                    tap += 2;
                    weights += 4;
                }
                to[channel] = spk_rescale_dsp(scale, sum[0] * 2);
                to[channel + 1] = spk_rescale_dsp(scale + 1, sum[1] * 2);
                to[channel + 2] = spk_rescale_dsp(scale + 2, sum[2] * 2);
                to[channel + 3] = spk_rescale_dsp(scale + 3, sum[3] * 2);
                if (channel == last) {
                    break;
                }
                channel = spk_min_u32(channel + 4, last);
            }
        }
    }
    spk_clamp_codes(&c->out, output, (uint32_t)(to - output));
}

#endif
