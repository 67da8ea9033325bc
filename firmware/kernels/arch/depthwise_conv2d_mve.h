// Depthwise convolution for cores with the M-profile vector extension; see depthwise_conv2d.h.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_DEPTHWISE_CONV2D_MVE_H
#define SPK_DEPTHWISE_CONV2D_MVE_H

#include "kernels/arch/depthwise_conv2d_taps.h"
#include "kernels/arch/mve.h"

// Codes of eight channels of one output. weights: (taps, 8); `at` is their place in the arrays of
// scales, which hold the even ones first. from: of the list, codes to the right or, with `gather`,
// eight of them.
SPK_INLINE int16x8_t spk_depthwise_mve_eight(const struct spk_rescale *out, bool wide,
                                             const int8_t *const *tap, uint32_t taps, bool gather,
                                             uint32_t first, uint16x8_t from, const int8_t *weights,
                                             uint32_t at) {
    int32x4_t even = vdupq_n_s32(0);
    int32x4_t odd = vdupq_n_s32(0);
    do {
        const int8_t *p = *tap++ + first;
        const int16x8_t x = gather ? vldrbq_gather_offset_s16(p, from) : vldrbq_s16(p);
        const int16x8_t w = vldrbq_s16(weights);
        even = vaddq_s32(even, vmullbq_int_s16(x, w));
        odd = vaddq_s32(odd, vmulltq_int_s16(x, w));
        weights += 8;
    } while (--taps > 0);
    even = spk_mve_rescale(out, wide, even, at);
    odd = spk_mve_rescale(out, wide, odd, at + 4);
    return vreinterpretq_s16_s32(vsliq_n_s32(even, odd, 16));
}

// One output a channel, eight channels at the least. weights: (eights, taps, 8); the last eight end
// with the last channel. list: (taps,).
SPK_INLINE void spk_depthwise_mve(bool wide, const struct spk_depthwise_taps *c,
                                  const int8_t *input, const int8_t **list, int8_t *output) {
    const struct spk_rescale out = c->out;
    const uint32_t channels = c->geometry.channels;
    const uint32_t taps = (uint32_t)c->geometry.kernel_height * c->geometry.kernel_width;
    struct spk_depthwise_pixel at = {0};
    for (uint32_t y = 0; y < c->geometry.out_height; y++) {
        for (uint32_t x = 0; x < c->geometry.out_width; x++) {
            const int8_t *weights = c->weights;
            spk_depthwise_next(c, y, x, input, list, &at);
            for (uint32_t o = 0; o < channels; o += 8) {
                const uint32_t channel = spk_min_u32(o, channels - 8);
                vstrbq_s16(output + channel, spk_depthwise_mve_eight(&out, wide, list, taps, false,
                                                                     at.offset + channel,
                                                                     vdupq_n_u16(0), weights, o));
                weights += 8 * taps;
            }
            output += channels;
        }
    }
}

// Sixteen channels of one output, two taps at a time: their products' sum fits 16 bits, for no
// weight is -128. weights: (pairs, 2, 16). The arrays of scales hold channels 0 4 8 12, then
// 2 6 10 14, 1 5 9 13 and 3 7 11 15.
SPK_INLINE int8x16_t spk_depthwise_mve_sixteen(const struct spk_rescale *out, bool wide,
                                               const int8_t *const *tap, uint32_t pairs,
                                               uint32_t first, const int8_t *weights, uint32_t at) {
    int32x4_t a = vdupq_n_s32(0);
    int32x4_t b = vdupq_n_s32(0);
    int32x4_t c = vdupq_n_s32(0);
    int32x4_t d = vdupq_n_s32(0);
    const int8_t *p;
    const int8_t *q;
    // All vectors are in use: the second weights are loaded twice.
    __asm__ volatile("dls lr, %[pairs]\n"
                     "1:\n"
                     "ldr %[p], [%[tap]], #4\n"
                     "ldr %[q], [%[tap]], #4\n"
                     "add %[p], %[p], %[first]\n"
                     "add %[q], %[q], %[first]\n"
                     "vldrb.8 q4, [%[p]]\n"
                     "vldrb.8 q5, [%[w]], #16\n"
                     "vmullb.s8 q6, q4, q5\n"
                     "vmullt.s8 q4, q4, q5\n"
                     "vldrb.8 q5, [%[q]]\n"
                     "vldrb.8 q7, [%[w]]\n"
                     "vmullb.s8 q7, q5, q7\n"
                     "vadd.i16 q6, q6, q7\n"
                     "vldrb.8 q7, [%[w]], #16\n"
                     "vmullt.s8 q7, q5, q7\n"
                     "vadd.i16 q4, q4, q7\n"
                     "vmovlb.s16 q5, q6\n"
                     "vmovlt.s16 q6, q6\n"
                     "vadd.i32 %q[a], %q[a], q5\n"
                     "vadd.i32 %q[b], %q[b], q6\n"
                     "vmovlb.s16 q5, q4\n"
                     "vmovlt.s16 q4, q4\n"
                     "vadd.i32 %q[c], %q[c], q5\n"
                     "vadd.i32 %q[d], %q[d], q4\n"
                     "le lr, 1b\n"
                     : [tap] "+r"(tap), [w] "+r"(weights), [p] "=&r"(p), [q] "=&r"(q), [a] "+w"(a),
                       [b] "+w"(b), [c] "+w"(c), [d] "+w"(d)
                     : [pairs] "r"(pairs), [first] "r"(first)
                     : "lr", "q4", "q5", "q6", "q7", "memory");
    a = spk_mve_rescale(out, wide, a, at);
    b = spk_mve_rescale(out, wide, b, at + 4);
    c = spk_mve_rescale(out, wide, c, at + 8);
    d = spk_mve_rescale(out, wide, d, at + 12);
    const int16x8_t even = vreinterpretq_s16_s32(vsliq_n_s32(a, b, 16));
    const int16x8_t odd = vreinterpretq_s16_s32(vsliq_n_s32(c, d, 16));
    return vreinterpretq_s8_s16(vsliq_n_s16(even, odd, 8));
}

// One output a channel, sixteen channels at the least. weights: (sixteens, taps, 16), taps made
// even by one of zeros; the last sixteen end with the last channel. list: (taps,), even too.
SPK_INLINE void spk_depthwise_mve_sixteens(bool wide, const struct spk_depthwise_taps *c,
                                           const int8_t *input, const int8_t **list,
                                           int8_t *output) {
    const struct spk_rescale out = c->out;
    const uint32_t channels = c->geometry.channels;
    const uint32_t taps = (uint32_t)c->geometry.kernel_height * c->geometry.kernel_width;
    const uint32_t pairs = (taps + 1) / 2;
    struct spk_depthwise_pixel at = {0};
    for (uint32_t y = 0; y < c->geometry.out_height; y++) {
        for (uint32_t x = 0; x < c->geometry.out_width; x++) {
            const int8_t *weights = c->weights;
            spk_depthwise_next(c, y, x, input, list, &at);
            list[2 * pairs - 1] = list[taps - 1];
            for (uint32_t o = 0; o < channels; o += 16) {
                const uint32_t channel = spk_min_u32(o, channels - 16);
                vst1q_s8(output + channel,
                         spk_depthwise_mve_sixteen(&out, wide, list, pairs, at.offset + channel,
                                                   weights, o));
                weights += 32 * pairs;
            }
            output += channels;
        }
    }
}

// Any number of channels, and of outputs a channel. weights: (eights, taps, 8), sources:
// (eights, 8).
SPK_INLINE void spk_depthwise_mve_many(bool wide, const struct spk_depthwise_taps *c,
                                       const int8_t *input, const int8_t **list, int8_t *output) {
    const struct spk_rescale out = c->out;
    const uint32_t taps = (uint32_t)c->geometry.kernel_height * c->geometry.kernel_width;
    struct spk_depthwise_pixel at = {0};
    for (uint32_t y = 0; y < c->geometry.out_height; y++) {
        for (uint32_t x = 0; x < c->geometry.out_width; x++) {
            const int8_t *weights = c->weights;
            spk_depthwise_next(c, y, x, input, list, &at);
            for (uint32_t o = 0; o < c->geometry.outputs; o += 8) {
                const int16x8_t codes =
                    spk_depthwise_mve_eight(&out, wide, list, taps, true, at.offset,
                                            vldrhq_u16(c->sources + o), weights, o);
                vstrbq_p_s16(output + o, codes, vctp16q(c->geometry.outputs - o));
                weights += 8 * taps;
            }
            output += c->geometry.outputs;
        }
    }
}

// `_wide`: some shifts are 0 or to the left.
SPK_DEPTHWISE_TAPS(mve)
SPK_DEPTHWISE_TAPS(mve_sixteens)
SPK_DEPTHWISE_TAPS(mve_many)

#endif
