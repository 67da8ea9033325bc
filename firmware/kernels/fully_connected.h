// Fully connected int8 layer. Golden twin: pytools/spikelet/graph/ops/fully_connected.py.
// SPDX-License-Identifier: Apache-2.0
//
// Every output reads every input, so the output may not overlap the input. The input is read up to
// the next multiple of 8 bytes; the weights there are 0.
#ifndef SPK_FULLY_CONNECTED_H
#define SPK_FULLY_CONNECTED_H

#include "kernels/packed.h"
#include "kernels/requantise_once.h"
#if defined(__ARM_FEATURE_MVE)
#include "kernels/arch/packed_mve.h"
#endif
#if defined(__ARM_FEATURE_DSP)
#include "kernels/arch/packed_dsp.h"
#endif

struct spk_fully_connected {
    const void *weights;     // in the order that the variant asks for
    struct spk_rescale out;  // (outputs,)
    const int32_t *fraction; // (outputs,) where the sum is rounded once, else 0
    uint16_t inputs;
    uint16_t outputs;
    uint16_t
        block; // inputs whose tables are made at a time, by 32; of spk_fully_connected_tables_*
};

// How sums become codes: rounded once or twice; or channel by channel, where some are marked.
enum spk_connected_rounding { SPK_ONCE_NEAR, SPK_TWICE_NEAR, SPK_WIDE };

SPK_INLINE int32_t spk_fully_connected_code(const struct spk_fully_connected *c,
                                            enum spk_connected_rounding rounding, int32_t x,
                                            uint32_t channel) {
    if (rounding == SPK_WIDE && spk_is_even(&c->out)) {
        return spk_rescale_even(&c->out, x, channel);
    }
    const int32_t multiplier = c->out.multiplier[channel];
    const int32_t shift = c->out.shift[channel];
    const int32_t zero = c->out.zero_point;
    if (rounding == SPK_WIDE && shift > 0) {
        const int32_t far = shift - SPK_FAR;
        const int32_t code = c->fraction
                                 ? spk_requantise_once(x, multiplier, c->fraction[channel], far)
                                 : spk_requantise(x, multiplier, far);
        return spk_clamp(code, c->out.low - zero, c->out.high - zero) + zero;
    }
    if (rounding == SPK_ONCE_NEAR || (rounding == SPK_WIDE && c->fraction)) {
        const uint32_t right = (uint32_t)-shift;
        return spk_requantise_once_near(x, multiplier, c->fraction[channel], right, zero);
    }
    return spk_requantise_near(x, multiplier, (uint32_t)-shift, zero);
}

// Codes of the sums, without bias, of up to `channels` channels.
SPK_INLINE void spk_fully_connected_store(const struct spk_fully_connected *c,
                                          enum spk_connected_rounding rounding, uint32_t channel,
                                          uint32_t channels, const int32_t *sum, int8_t *output) {
    const int32_t low = c->out.low;
    const int32_t high = c->out.high;
    const uint32_t end = spk_min_u32(channel + channels, c->outputs);
    for (; channel < end; channel++, sum++) {
        const int32_t x = *sum + c->out.bias[channel];
        const int32_t code = spk_fully_connected_code(c, rounding, x, channel);
        output[channel] = (int8_t)spk_clamp(code, low, high);
    }
}

// Sums of a quad of channels, or of two, that share the loads of the inputs. second: the weights of
// the other quad. mask: the bits of a weight that count.
SPK_INLINE void spk_fully_connected_sums(const struct spk_fully_connected *c, bool two,
                                         int32_t mask, const int8_t *from, const int8_t *weights,
                                         const int8_t *second, int32_t *sum) {
    const int8_t *const end = from + c->inputs;
    int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
    int32_t b0 = 0, b1 = 0, b2 = 0, b3 = 0;
    do {
        SPK_UNROLL(4)
        for (uint32_t tap = 0; tap < 4; tap++) {
            const int32_t x = from[tap];
            a0 += (weights[4 * tap] & mask) * x;
            a1 += (weights[4 * tap + 1] & mask) * x;
            a2 += (weights[4 * tap + 2] & mask) * x;
            a3 += (weights[4 * tap + 3] & mask) * x;
            if (two) {
                b0 += (second[4 * tap] & mask) * x;
                b1 += (second[4 * tap + 1] & mask) * x;
                b2 += (second[4 * tap + 2] & mask) * x;
                b3 += (second[4 * tap + 3] & mask) * x;
            }
            SPK_IN_ORDER();
        }
        from += 4;
        weights += 16;
        second += 16;
    } while (from < end);
    sum[0] = a0;
    sum[1] = a1;
    sum[2] = a2;
    sum[3] = a3;
    sum[4] = b0;
    sum[5] = b1;
    sum[6] = b2;
    sum[7] = b3;
}

// Sums of the channels from `channel` on: 4, or 8 where registers hold them; answers how many.
SPK_INLINE uint32_t spk_fully_connected_next(const struct spk_fully_connected *c, int32_t mask,
                                             uint32_t channel, const int8_t *input,
                                             const int8_t *weights, int32_t *sum) {
#if defined(__riscv) && !defined(__riscv_32e)
    if (channel + 4 < c->outputs) {
        const int8_t *const second = weights + (c->inputs + 3u) / 4 * 16;
        spk_fully_connected_sums(c, true, mask, input, weights, second, sum);
        return 8;
    }
#endif
    (void)channel;
    spk_fully_connected_sums(c, false, mask, input, weights, weights, sum);
    return 4;
}

// weights: (outputs / 4, inputs by fours, 4).
SPK_INLINE void spk_fully_connected_by_fours(const struct spk_fully_connected *of,
                                             enum spk_connected_rounding rounding,
                                             const int8_t *input, int8_t *output) {
    const struct spk_fully_connected copy = *of; // the compiler sees that no output changes it
    const struct spk_fully_connected *c = &copy;
    const uint32_t step = (c->inputs + 3u) / 4 * 16;
    const int8_t *weights = c->weights;
    uint32_t done;
    for (uint32_t o = 0; o < c->outputs; o += done) {
        int32_t sum[8];
        done = spk_fully_connected_next(c, -1, o, input, weights, sum);
        weights += done / 4 * step;
        spk_fully_connected_store(c, rounding, o, done, sum, output);
    }
}

// weights: of less than 8 bits (outputs / 4, words of fields, 4), else as above.
SPK_INLINE void spk_fully_connected_by_grid(const struct spk_fully_connected *of,
                                            enum spk_connected_rounding rounding, uint32_t bits,
                                            bool odd, uint32_t upper, const int8_t *input,
                                            int8_t *output) {
    const struct spk_fully_connected copy = *of;
    const struct spk_fully_connected *c = &copy;
    const struct spk_grid grid = spk_grid(bits, odd, upper);
    const uint32_t each = bits < 8 ? 32 / bits : 4;
    const uint32_t step = (c->inputs + each - 1) / each * 16;
    const int8_t *weights = c->weights;
    int32_t total = 0;
    for (uint32_t i = 0; i < c->inputs; i++) {
        total += input[i];
    }
    const uint32_t inputs = grid.inputs * (uint32_t)total;
    uint32_t done = 4;
    for (uint32_t o = 0; o < c->outputs; o += done) {
        int32_t sum[8];
        if (bits < 8) {
            spk_packed_dot(input, c->inputs, bits, (const uint32_t *)(const void *)weights, sum);
        } else {
            done = spk_fully_connected_next(c, spk_upper_mask(upper), o, input, weights, sum);
        }
        for (uint32_t k = 0; k < done; k++) {
            sum[k] = (int32_t)(grid.factor * (uint32_t)sum[k] + inputs);
        }
        spk_fully_connected_store(c, rounding, o, done, sum, output);
        weights += done / 4 * step;
    }
}

#if defined(__ARM_FEATURE_DSP)
// weights: (outputs / 4, quads, 2, 2) words, see arch/dsp.h; the inputs of a quad in the order
// 0, 2, 1, 3; an even number of quads.
SPK_INLINE void spk_fully_connected_by_quads(const struct spk_fully_connected *of,
                                             enum spk_connected_rounding rounding,
                                             const int8_t *input, int8_t *output) {
    const struct spk_fully_connected copy = *of;
    const struct spk_fully_connected *c = &copy;
    const uint32_t *weights = c->weights;
    for (uint32_t o = 0; o < c->outputs; o += 4) {
        struct spk_dsp_four sums = {{0, 0}, {0, 0}};
        weights = spk_dsp_run(&sums, input, weights, c->inputs);
        const int32_t sum[4] = {sums.low[0], (sums.both[0] - sums.low[0]) >> 8, sums.low[1],
                                (sums.both[1] - sums.low[1]) >> 8};
        spk_fully_connected_store(c, rounding, o, 4, sum, output);
    }
}
#endif

#if defined(__ARM_FEATURE_DSP)
// weights: as spk_packed_dsp_dot_fields and _fours ask for.
SPK_INLINE void spk_fully_connected_by_lanes(const struct spk_fully_connected *of,
                                             enum spk_connected_rounding rounding, uint32_t bits,
                                             bool odd, uint32_t upper, const int8_t *input,
                                             int8_t *output) {
    const struct spk_fully_connected copy = *of;
    const struct spk_fully_connected *c = &copy;
    const struct spk_grid grid = spk_grid(bits, odd, upper);
    const int32_t total = spk_packed_dsp_total(input, c->inputs);
    const int32_t raised = ((int32_t)grid.inputs - (bits == 8 ? 256 : 0)) * total;
    // of fields in two's complement
    const int32_t plain = bits == 8 ? (int32_t)grid.inputs * total : odd ? total : 0;
    const uint32_t *weights = c->weights;
    for (uint32_t o = 0; o < c->outputs; o += 4) {
        int32_t sum[4];
        if (bits == 8) {
            spk_packed_dsp_dot_eights(upper, input, c->inputs, &weights, sum);
        } else if (bits == 4) {
            spk_packed_dsp_dot_fours(input, c->inputs, &weights, sum);
        } else {
            spk_packed_dsp_dot_fields(bits, input, c->inputs, &weights, sum);
        }
        for (uint32_t k = 0; k < 4; k++) {
            const bool low = bits == 4 ? k < 3 : k % 2 == 0;
            sum[k] = spk_packed_whole(grid, sum[k], low ? raised : plain);
        }
        spk_fully_connected_store(c, rounding, o, 4, sum, output);
    }
}
#endif

#if defined(__ARM_FEATURE_MVE)
// weights: as spk_mve_dot asks for.
SPK_INLINE void spk_fully_connected_by_vectors(const struct spk_fully_connected *of,
                                               enum spk_connected_rounding rounding,
                                               const int8_t *input, int8_t *output) {
    const struct spk_fully_connected copy = *of;
    const struct spk_fully_connected *c = &copy;
    const int8_t *weights = c->weights;
    for (uint32_t o = 0; o < c->outputs; o += 4) {
        int32_t sum[4];
        vst1q_s32(sum, spk_mve_dot(input, weights, c->inputs));
        spk_fully_connected_store(c, rounding, o, 4, sum, output);
        weights += (c->inputs + 15u) / 16 * 64;
    }
}
#endif

#if defined(__ARM_FEATURE_MVE)
// weights: as spk_packed_mve_outputs asks for.
SPK_INLINE void spk_fully_connected_by_bytes(const struct spk_fully_connected *of,
                                             enum spk_connected_rounding rounding, uint32_t bits,
                                             bool odd, uint32_t upper, const int8_t *input,
                                             int8_t *output) {
    const struct spk_fully_connected copy = *of;
    const struct spk_fully_connected *c = &copy;
    const int32_t total = spk_packed_mve_total(input, c->inputs);
    const int8_t *weights = c->weights;
    for (uint32_t o = 0; o < c->outputs; o += 4) {
        int32_t sum[4];
        vst1q_s32(sum, spk_packed_mve_dot(bits, odd, upper, o, input, c->inputs, total, &weights));
        spk_fully_connected_store(c, rounding, o, 4, sum, output);
    }
}
#endif

// The variants: spk_fully_connected_ORDER_ROUNDING.
#define SPK_FULLY_CONNECTED(order, name, rounding)                                                 \
    SPK_SHARED void spk_fully_connected_##order##_##name(const struct spk_fully_connected *c,      \
                                                         const int8_t *input, int8_t *output) {    \
        spk_fully_connected_by_##order(c, rounding, input, output);                                \
    }
#define SPK_FULLY_CONNECTED_ROUNDINGS(order)                                                       \
    SPK_FULLY_CONNECTED(order, once, SPK_ONCE_NEAR)                                                \
    SPK_FULLY_CONNECTED(order, twice, SPK_TWICE_NEAR)                                              \
    SPK_FULLY_CONNECTED(order, wide, SPK_WIDE)

SPK_FULLY_CONNECTED_ROUNDINGS(fours)

#define SPK_FULLY_CONNECTED_GRID(name, rounding, grid, bits, odd, upper)                           \
    SPK_SHARED void spk_fully_connected_##grid##_##name(const struct spk_fully_connected *c,       \
                                                        const int8_t *input, int8_t *output) {     \
        spk_fully_connected_by_grid(c, rounding, bits, odd, upper, input, output);                 \
    }
#define SPK_FULLY_CONNECTED_GRIDS(name, rounding)                                                  \
    SPK_FULLY_CONNECTED_GRID(name, rounding, packed_2, 2, false, 8)                                \
    SPK_FULLY_CONNECTED_GRID(name, rounding, packed_4, 4, false, 8)                                \
    SPK_FULLY_CONNECTED_GRID(name, rounding, packed_1_odd, 1, true, 8)                             \
    SPK_FULLY_CONNECTED_GRID(name, rounding, packed_2_odd, 2, true, 8)                             \
    SPK_FULLY_CONNECTED_GRID(name, rounding, packed_4_odd, 4, true, 8)                             \
    SPK_FULLY_CONNECTED_GRID(name, rounding, fours_8_odd, 8, true, 8)                              \
    SPK_FULLY_CONNECTED_GRID(name, rounding, fours_8_odd_upper4, 8, true, 4)                       \
    SPK_FULLY_CONNECTED_GRID(name, rounding, fours_8_odd_upper2, 8, true, 2)                       \
    SPK_FULLY_CONNECTED_GRID(name, rounding, fours_8_odd_upper1, 8, true, 1)

SPK_FULLY_CONNECTED_GRIDS(once, SPK_ONCE_NEAR)
SPK_FULLY_CONNECTED_GRIDS(twice, SPK_TWICE_NEAR)
SPK_FULLY_CONNECTED_GRIDS(wide, SPK_WIDE)

#if defined(__ARM_FEATURE_DSP)
SPK_FULLY_CONNECTED_ROUNDINGS(quads)
#endif

#if defined(__ARM_FEATURE_DSP)
#define SPK_FULLY_CONNECTED_PACKED(order, name, rounding, grid, bits, odd, upper)                  \
    SPK_SHARED void spk_fully_connected_##order##_##grid##_##name(                                 \
        const struct spk_fully_connected *c, const int8_t *input, int8_t *output) {                \
        spk_fully_connected_by_##order(c, rounding, bits, odd, upper, input, output);              \
    }
#define SPK_FULLY_CONNECTED_PACKED_GRIDS(order, name, rounding)                                    \
    SPK_FULLY_CONNECTED_PACKED(order, name, rounding, 2, 2, false, 8)                              \
    SPK_FULLY_CONNECTED_PACKED(order, name, rounding, 4, 4, false, 8)                              \
    SPK_FULLY_CONNECTED_PACKED(order, name, rounding, 1_odd, 1, true, 8)                           \
    SPK_FULLY_CONNECTED_PACKED(order, name, rounding, 2_odd, 2, true, 8)                           \
    SPK_FULLY_CONNECTED_PACKED(order, name, rounding, 4_odd, 4, true, 8)                           \
    SPK_FULLY_CONNECTED_PACKED(order, name, rounding, 8_odd, 8, true, 8)                           \
    SPK_FULLY_CONNECTED_PACKED(order, name, rounding, 8_odd_upper4, 8, true, 4)                    \
    SPK_FULLY_CONNECTED_PACKED(order, name, rounding, 8_odd_upper2, 8, true, 2)                    \
    SPK_FULLY_CONNECTED_PACKED(order, name, rounding, 8_odd_upper1, 8, true, 1)
#define SPK_FULLY_CONNECTED_PACKED_ROUNDINGS(order)                                                \
    SPK_FULLY_CONNECTED_PACKED_GRIDS(order, once, SPK_ONCE_NEAR)                                   \
    SPK_FULLY_CONNECTED_PACKED_GRIDS(order, twice, SPK_TWICE_NEAR)                                 \
    SPK_FULLY_CONNECTED_PACKED_GRIDS(order, wide, SPK_WIDE)

SPK_FULLY_CONNECTED_PACKED_ROUNDINGS(lanes)
#endif
#if defined(__ARM_FEATURE_MVE)
SPK_FULLY_CONNECTED_ROUNDINGS(vectors)
SPK_FULLY_CONNECTED_PACKED_ROUNDINGS(bytes)
#endif

#endif
