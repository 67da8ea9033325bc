// Rank-constrained filter over time. Golden twin: pytools/spikelet/graph/ops/svdf.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_SVDF_H
#define SPK_SVDF_H

#include "kernels/fixed16.h"

struct spk_svdf {
    const int8_t *weights; // (units * rank, inputs)
    const int32_t *offset; // (units * rank,) -input zero point * sum of weights
    const int16_t *time;   // (units * rank, memory)
    const int32_t *bias;   // (units,)
    uint32_t inputs;
    uint32_t units;
    uint32_t rank;
    uint32_t memory;
    int32_t state_multiplier;
    int32_t state_shift;
    int32_t out_multiplier;
    int32_t out_shift;
    int32_t zero_point;
};

// x: (inputs,); state: (units * rank, memory), the newest last; y: (units,).
SPK_INLINE void spk_svdf_s8(const struct spk_svdf *c, const int8_t *x, int16_t *state, int8_t *y) {
    const int8_t *weights = c->weights;
    const int16_t *time = c->time;
    for (uint32_t unit = 0; unit < c->units; unit++) {
        int32_t sum = c->bias[unit];
        for (uint32_t r = 0; r < c->rank; r++) {
            int32_t frame = c->offset[unit * c->rank + r];
            for (uint32_t i = 0; i < c->inputs; i++) {
                frame += spk_times(x[i], *weights++);
            }
            const int32_t newest = spk_requantise(frame, c->state_multiplier, c->state_shift);
            for (uint32_t m = 0; m + 1 < c->memory; m++) {
                state[m] = state[m + 1];
                sum = spk_add(sum, *time++ * state[m]);
            }
            state[c->memory - 1] = (int16_t)spk_saturate16(newest);
            sum = spk_add(sum, *time++ * state[c->memory - 1]);
            state += c->memory;
        }
        const int32_t code = spk_requantise(sum, c->out_multiplier, c->out_shift);
        const int32_t zero = c->zero_point;
        *y++ = (int8_t)(spk_clamp(code, INT8_MIN - zero, INT8_MAX - zero) + zero);
    }
}

#endif
