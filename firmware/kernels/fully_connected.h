// Fully connected int8 layer. Golden twin: pytools/spikelet/graph/ops/fully_connected.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_FULLY_CONNECTED_H
#define SPK_FULLY_CONNECTED_H

#include "kernels/requantise_once.h"
#if defined(__ARM_FEATURE_MVE)
#include "kernels/arch/mve.h"
#endif
#if defined(__ARM_FEATURE_DSP)
#include "kernels/arch/dsp.h"
#endif

struct spk_fully_connected {
    const void *weights;     // in the order that the variant asks for
    struct spk_rescale out;  // (outputs,)
    const int32_t *fraction; // (outputs,) where the sum is rounded once, else 0
    uint16_t inputs;
    uint16_t outputs;
};

// Codes of the sums, without bias, of up to four channels.
SPK_SHARED void spk_fully_connected_store(const struct spk_fully_connected *c, uint32_t channel,
                                          const int32_t *sum, int8_t *output) {
    const struct spk_rescale *out = &c->out;
    const uint32_t end = spk_min_u32(channel + 4, c->outputs);
    for (; channel < end; channel++, sum++) {
        const int32_t x = *sum + out->bias[channel];
        const int32_t multiplier = out->multiplier[channel];
        const int32_t shift = out->shift[channel];
        const int32_t code = c->fraction
                                 ? spk_requantise_once(x, multiplier, c->fraction[channel], shift)
                                 : spk_requantise(x, multiplier, shift);
        const int32_t zero = out->zero_point;
        output[channel] = (int8_t)(spk_clamp(code, out->low - zero, out->high - zero) + zero);
    }
}

// weights: (outputs / 4, inputs, 4).
SPK_SHARED void spk_fully_connected(const struct spk_fully_connected *c, const int8_t *input,
                                    int8_t *output) {
    const int8_t *weights = c->weights;
    for (uint32_t o = 0; o < c->outputs; o += 4) {
        int32_t a0 = 0;
        int32_t a1 = 0;
        int32_t a2 = 0;
        int32_t a3 = 0;
        const int8_t *from = input;
        const int8_t *const end = input + c->inputs;
        do {
            const int32_t x = *from++;
            a0 += weights[0] * x;
            a1 += weights[1] * x;
            a2 += weights[2] * x;
            a3 += weights[3] * x;
            weights += 4;
        } while (from < end);
        const int32_t sum[4] = {a0, a1, a2, a3};
        spk_fully_connected_store(c, o, sum, output);
    }
}

#if defined(__ARM_FEATURE_DSP)
// weights: (outputs / 4, quads, 2, 2) words, see arch/dsp.h; the inputs of a quad in the order
// 0, 2, 1, 3. Reads whole quads of the input.
SPK_SHARED void spk_fully_connected_dsp(const struct spk_fully_connected *c, const int8_t *input,
                                        int8_t *output) {
    const uint32_t *weights = c->weights;
    for (uint32_t o = 0; o < c->outputs; o += 4) {
        int32_t both[2] = {0, 0};
        int32_t low[2] = {0, 0};
        const int8_t *from = input;
        const int8_t *const end = input + c->inputs;
        do {
            const uint32_t x = *(const uint32_t *)(const void *)from;
            const uint32_t even = spk_sxtb16(x);
            const uint32_t odd = spk_sxtb16_high(x);
            SPK_UNROLL(2)
            for (uint32_t k = 0; k < 2; k++) {
                both[k] = spk_smlad(even, weights[0], both[k]);
                both[k] = spk_smlad(odd, weights[1], both[k]);
                low[k] = spk_smlad(even, spk_sxtb16(weights[0]), low[k]);
                low[k] = spk_smlad(odd, spk_sxtb16(weights[1]), low[k]);
                weights += 2;
            }
            from += 4;
        } while (from < end);
        const int32_t sum[4] = {low[0], (both[0] - low[0]) >> 8, low[1], (both[1] - low[1]) >> 8};
        spk_fully_connected_store(c, o, sum, output);
    }
}
#endif

#if defined(__ARM_FEATURE_MVE)
// weights: as spk_mve_dot asks for.
SPK_SHARED void spk_fully_connected_mve(const struct spk_fully_connected *c, const int8_t *input,
                                        int8_t *output) {
    const int8_t *weights = c->weights;
    for (uint32_t o = 0; o < c->outputs; o += 4) {
        int32_t sum[4];
        vst1q_s32(sum, spk_mve_dot(input, weights, c->inputs));
        spk_fully_connected_store(c, o, sum, output);
        weights += (c->inputs + 15u) / 16 * 64;
    }
}
#endif

#endif
