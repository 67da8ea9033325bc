// Long short-term memory over int8 frames. Golden twin: pytools/spikelet/graph/ops/lstm.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LSTM_H
#define SPK_LSTM_H

#include "kernels/fixed16.h"

// Gates in the order input, forget, cell, output; of three, the input gate is 1 - forget.
struct spk_lstm {
    const int8_t *weights;         // (gates, cells, inputs)
    const int8_t *recurrent;       // (gates, cells, cells)
    const int32_t *bias;           // (gates, cells) less input zero point * sum of weights
    const int32_t *recurrent_bias; // (gates, cells) -output zero point * sum of weights
    const int32_t *multiplier;     // (2, gates)
    const int8_t *shift;           // (2, gates)
    uint32_t frames;
    uint32_t inputs;
    uint32_t cells;
    uint32_t gates;
    uint32_t cell_bits;
    int32_t cell_clip;
    int32_t out_multiplier;
    int32_t out_shift;
    int32_t zero_point;
};

SPK_INLINE void spk_lstm_start(int8_t *hidden, int16_t *cell, uint32_t cells, int8_t zero_point) {
    for (uint32_t i = 0; i < cells; i++) {
        hidden[i] = zero_point;
        cell[i] = 0;
    }
}

SPK_SHARED int32_t spk_lstm_dot(const int8_t *weights, const int8_t *x, uint32_t n, int32_t sum) {
    for (uint32_t i = 0; i < n; i++) {
        sum += spk_times(x[i], weights[i]);
    }
    return sum;
}

// Sum of a gate of one cell, with 3 integer bits; gates are counted from the end.
SPK_SHARED int32_t spk_lstm_gate(const struct spk_lstm *c, uint32_t from_end, uint32_t cell,
                                 const int8_t *x, const int8_t *hidden) {
    const uint32_t gate = c->gates - from_end;
    const uint32_t row = gate * c->cells + cell;
    const int32_t seen = spk_lstm_dot(c->weights + row * c->inputs, x, c->inputs, c->bias[row]);
    const int32_t past =
        spk_lstm_dot(c->recurrent + row * c->cells, hidden, c->cells, c->recurrent_bias[row]);
    const int32_t first = spk_requantise(seen, c->multiplier[gate], c->shift[gate]);
    const uint32_t second = c->gates + gate;
    const int32_t more = spk_requantise(past, c->multiplier[second], c->shift[second]);
    // More than a sum of two that saturates can need; `more` may reach any int32.
    return spk_saturate16(spk_saturate16(first) + spk_clamp(more, 2 * INT16_MIN, 2 * INT16_MAX));
}

// x: (frames, inputs); hidden, cell: (cells,); y: (frames, cells).
SPK_INLINE void spk_lstm_s8(const struct spk_lstm *c, const int8_t *x, int8_t *hidden,
                            int16_t *cell, int8_t *y) {
    for (uint32_t t = 0; t < c->frames; t++, x += c->inputs, y += c->cells) {
        for (uint32_t i = 0; i < c->cells; i++) {
            const int32_t forget = spk_logistic16(spk_lstm_gate(c, 3, i, x, hidden));
            const int32_t gate = spk_tanh16(spk_lstm_gate(c, 2, i, x, hidden), 3);
            const int32_t output = spk_logistic16(spk_lstm_gate(c, 1, i, x, hidden));
            const int32_t enter = c->gates == 4 ? spk_logistic16(spk_lstm_gate(c, 4, i, x, hidden))
                                                : INT16_MAX - forget;
            int32_t value = spk_saturate16(spk_rounding_shift(forget * cell[i], 15) +
                                           spk_rounding_shift(enter * gate, 15 + c->cell_bits));
            if (c->cell_clip > 0) {
                value = spk_clamp(value, -c->cell_clip, c->cell_clip);
            }
            cell[i] = (int16_t)value;
            const int32_t code = spk_requantise(output * spk_tanh16(value, c->cell_bits),
                                                c->out_multiplier, c->out_shift);
            const int32_t zero = c->zero_point;
            y[i] = (int8_t)(spk_clamp(code, INT8_MIN - zero, INT8_MAX - zero) + zero);
        }
        for (uint32_t i = 0; i < c->cells; i++) { // every gate has read the last frame's
            hidden[i] = y[i];
        }
    }
}

#endif
