// Depthwise convolution for cores with the M-profile vector extension; see depthwise_conv2d.h.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_DEPTHWISE_CONV2D_MVE_H
#define SPK_DEPTHWISE_CONV2D_MVE_H

#include "kernels/arch/depthwise_conv2d_taps.h"
#include "kernels/arch/mve.h"

// Eight channels of one output. weights: (taps, 8); `at` is their place in the arrays of scales,
// which hold the even ones first.
SPK_INLINE void spk_depthwise_mve_eight(const struct spk_rescale *out, const int8_t *const *tap,
                                        uint32_t taps, uint32_t channel, const int8_t *weights,
                                        uint32_t at, int8_t *to) {
    int32x4_t even = vdupq_n_s32(0);
    int32x4_t odd = vdupq_n_s32(0);
    for (uint32_t i = 0; i < taps; i++) {
        const int16x8_t x = vldrbq_s16(*tap++ + channel);
        const int16x8_t w = vldrbq_s16(weights);
        even = vaddq_s32(even, vmullbq_int_s16(x, w));
        odd = vaddq_s32(odd, vmulltq_int_s16(x, w));
        weights += 8;
    }
    even = spk_mve_rescale(out, even, at);
    odd = spk_mve_rescale(out, odd, at + 4);
    vstrbq_s16(to + channel, vreinterpretq_s16_s32(vsliq_n_s32(even, odd, 16)));
}

// One output a channel; up to SPK_DEPTHWISE_TAPS taps, 8 channels at the least.
// weights: (eights, taps, 8); the last eight end with the last channel.
SPK_SHARED void spk_depthwise_conv2d_mve(const struct spk_depthwise_taps *c, const int8_t *input,
                                         int8_t *output) {
    const int8_t *tap[SPK_DEPTHWISE_TAPS];
    const struct spk_rescale out = c->out;
    const uint32_t channels = c->channels;
    const uint32_t taps = (uint32_t)c->kernel_height * c->kernel_width;
    for (uint32_t y = 0; y < c->out_height; y++) {
        for (uint32_t x = 0; x < c->out_width; x++) {
            const int8_t *weights = c->weights;
            spk_depthwise_find(c, y, x, input, tap);
            for (uint32_t at = 0; at < channels; at += 8) {
                spk_depthwise_mve_eight(&out, tap, taps, spk_min_u32(at, channels - 8), weights, at,
                                        output);
                weights += 8 * taps;
            }
            output += channels;
        }
    }
}

#endif
