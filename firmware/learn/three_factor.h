// Learning of spiking layers: a presynaptic trace, times the surrogate derivative, times an error.
// Golden twins: pytools/spikelet/learn/layers/spiking_error.py and spiking_update.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LEARN_THREE_FACTOR_H
#define SPK_LEARN_THREE_FACTOR_H

#include "learn/scalar.h"

struct spk_trace {
    uint32_t inputs;
    uint32_t steps;
    int32_t keep; // Q15, of a trace from step to step
    int32_t one;  // what a spike adds
};

SPK_INLINE int32_t spk_trace_next(const struct spk_trace *c, int32_t trace, bool spike) {
    return ((trace * c->keep) >> 15) + (spike ? c->one : 0);
}

// The trace of input i after each step; answers whether one of the last `rows` is not 0.
// history: (steps, words) of bits; trace: (steps,).
SPK_INLINE bool spk_trace_of(const struct spk_trace *c, const uint32_t *history, uint32_t i,
                             uint32_t rows, int32_t *trace) {
    const uint32_t words = (c->inputs + 31) / 32;
    int32_t any = 0;
    int32_t held = 0;
    for (uint32_t t = 0; t < c->steps; t++) {
        const uint32_t spike = history[t * words + i / 32] >> (i % 32) & 1;
        held = spk_trace_next(c, held, spike != 0);
        any |= t + rows >= c->steps ? held : 0;
        trace[t] = held;
    }
    return any != 0;
}

// traces: (inputs,), after the last step, or the mean over all.
SPK_INLINE void spk_spike_trace(const struct spk_trace *c, const uint32_t *history, bool mean,
                                int16_t *traces) {
    const uint32_t words = (c->inputs + 31) / 32;
    for (uint32_t i = 0; i < c->inputs; i++) {
        int32_t held = 0;
        uint32_t sum = 0;
        for (uint32_t t = 0; t < c->steps; t++) {
            const uint32_t spike = history[t * words + i / 32] >> (i % 32) & 1;
            held = spk_trace_next(c, held, spike != 0);
            sum += (uint32_t)held;
        }
        traces[i] = (int16_t)(mean ? (int32_t)(sum / c->steps) : held);
    }
}

struct spk_spiking_error {
    uint32_t n;
    uint32_t rows; // of the error: 1, or steps
    uint32_t steps;
    const int32_t *gains; // (n,)
    const int32_t *kept;  // (steps,) Q15, or 0
    uint32_t shift;
    int32_t limit;
};

// error: (rows, n); surrogate, delta: (steps, n).
SPK_INLINE void spk_spiking_error(const struct spk_spiking_error *c, const int16_t *error,
                                  const uint8_t *surrogate, int16_t *delta) {
    const int64_t half = INT64_C(1) << (c->shift - 1);
    for (uint32_t t = 0; t < c->steps; t++) {
        const int16_t *row = c->rows == 1 ? error : error + t * c->n;
        for (uint32_t o = 0; o < c->n; o++, surrogate++, delta++) {
            *delta = 0;
            if (*surrogate == 0 || row[o] == 0) {
                continue;
            }
            int64_t product = (int64_t)(row[o] * *surrogate) * c->gains[o];
            product = c->kept ? product * c->kept[t] : product;
            const int64_t value = (product + half) >> c->shift;
            const int64_t low = value > c->limit ? c->limit : value;
            *delta = (int16_t)(low < -c->limit ? -c->limit : low);
        }
    }
}

struct spk_spiking_error_sum {
    uint32_t n;
    uint32_t steps;
    int32_t keep;
    int32_t one;
    struct spk_narrowing scale;
};

// delta: (steps, n); sums: (n,), weighted by the trace of a spike in every step.
SPK_INLINE void spk_spiking_error_sum(const struct spk_spiking_error_sum *c, const int16_t *delta,
                                      int16_t *sums) {
    for (uint32_t o = 0; o < c->n; o++) {
        int32_t trace = 0;
        int32_t sum = 0;
        for (uint32_t t = 0; t < c->steps; t++) {
            trace = ((trace * c->keep) >> 15) + c->one;
            sum += delta[t * c->n + o] * trace;
        }
        sums[o] = spk_narrow(sum, &c->scale);
    }
}

struct spk_spiking_input_error {
    uint32_t inputs;
    uint32_t outputs;
    uint32_t rows;
    bool learned; // weights are int16, their high bytes the codes; else they are codes
    struct spk_narrowing scale;
};

// delta: (rows, outputs); weights: (inputs, outputs); error: (rows, inputs).
SPK_INLINE void spk_spiking_input_error(const struct spk_spiking_input_error *c,
                                        const int16_t *delta, const void *weights, int16_t *error) {
    const uint32_t stride = c->learned ? 2 : 1;
    for (uint32_t row = 0; row < c->rows; row++, delta += c->outputs) {
        const int8_t *code = (const int8_t *)weights + (stride - 1);
        for (uint32_t i = 0; i < c->inputs; i++) {
            int32_t sum = 0;
            for (uint32_t o = 0; o < c->outputs; o++, code += stride) {
                sum += delta[o] * *code;
            }
            *error++ = spk_narrow(sum, &c->scale);
        }
    }
}

struct spk_spiking_update {
    struct spk_trace trace;
    uint32_t outputs;
    uint32_t rows; // of errors and traces: 1, or steps
    const int32_t *rates;
    const int32_t *bias_rates;
    uint32_t shift;
    uint32_t bias_shift;
    int32_t bias_limit;
    bool stochastic;
};

struct spk_spiking_parts {
    const int16_t *delta; // (rows, outputs)
    int16_t *weight;      // (inputs, outputs), or 0
    int32_t *bias;        // (outputs,), or 0
    uint32_t *random;
    uint32_t *health;
    const int32_t *schedule; // Q15, or 0 for 1.0
};

SPK_INLINE int32_t spk_spiking_rate(const struct spk_spiking_parts *at, int32_t rate) {
    return at->schedule ? (int32_t)(((int64_t)rate * *at->schedule + (1 << 14)) >> 15) : rate;
}

// Moves the weight to output o by its gradient; byte: random.
SPK_INLINE void spk_spiking_move(const struct spk_spiking_update *c,
                                 const struct spk_spiking_parts *at, int16_t *weight, uint32_t o,
                                 int32_t gradient, uint32_t byte) {
    const int64_t dither = c->stochastic ? (int64_t)(2 * (byte & 255) + 1) << (c->shift - 9)
                                         : INT64_C(1) << (c->shift - 1);
    const int64_t change =
        ((int64_t)gradient * spk_spiking_rate(at, c->rates[o]) + dither) >> c->shift;
    const int64_t moved = *weight + (change > 65536 ? 65536 : change < -65536 ? -65536 : change);
    const int64_t held = moved > INT16_MAX ? INT16_MAX : moved < INT16_MIN ? INT16_MIN : moved;
    if (held != moved) {
        spk_saturated(at->health);
    }
    *weight = (int16_t)held;
}

// The weights from input i to all outputs; trace: (rows,) of that input.
SPK_INLINE void spk_spiking_row(const struct spk_spiking_update *c,
                                const struct spk_spiking_parts *at, uint32_t i,
                                const int32_t *trace) {
    int16_t *weight = at->weight + i * c->outputs;
    for (uint32_t first = 0; first < c->outputs; first += 4) {
        const uint32_t count = spk_min_u32(4, c->outputs - first);
        uint32_t draw = c->stochastic ? spk_draw(at->random) : 0;
        const int16_t *delta = at->delta + first;
        int32_t sums[4] = {0, 0, 0, 0};
        for (uint32_t t = 0; t < c->rows; t++, delta += c->outputs) {
            SPK_UNROLL(4)
            for (uint32_t k = 0; k < count; k++) {
                sums[k] += delta[k] * trace[t];
            }
        }
        for (uint32_t k = 0; k < count; k++, draw >>= 8) {
            if (sums[k] != 0) {
                spk_spiking_move(c, at, weight + first + k, first + k, sums[k], draw);
            }
        }
    }
}

// trace: (rows,) of a bias.
SPK_INLINE void spk_spiking_biases(const struct spk_spiking_update *c,
                                   const struct spk_spiking_parts *at, const int32_t *trace) {
    for (uint32_t o = 0; o < c->outputs; o++) {
        int32_t gradient = 0;
        for (uint32_t t = 0; t < c->rows; t++) {
            gradient += at->delta[t * c->outputs + o] * trace[t];
        }
        const int64_t step = (int64_t)gradient * spk_spiking_rate(at, c->bias_rates[o]);
        const int64_t change = (step + (INT64_C(1) << (c->bias_shift - 1))) >> c->bias_shift;
        const int64_t moved = at->bias[o] + change;
        const int64_t low = moved > c->bias_limit ? c->bias_limit : moved;
        at->bias[o] = (int32_t)(low < -c->bias_limit ? -c->bias_limit : low);
        if (at->bias[o] != moved) {
            spk_saturated(at->health);
        }
    }
}

// history: (steps, words) of bits; trace: (steps,) to work in.
SPK_INLINE void spk_spiking_update_history(const struct spk_spiking_update *c,
                                           const uint32_t *history,
                                           const struct spk_spiking_parts *at, int32_t *trace) {
    const int32_t *rows = trace + (c->trace.steps - c->rows);
    if (c->rates) {
        for (uint32_t i = 0; i < c->trace.inputs; i++) {
            if (spk_trace_of(&c->trace, history, i, c->rows, trace)) {
                spk_spiking_row(c, at, i, rows);
            }
        }
    }
    if (c->bias_rates) {
        int32_t held = 0;
        for (uint32_t t = 0; t < c->trace.steps; t++) {
            held = spk_trace_next(&c->trace, held, true);
            trace[t] = held;
        }
        spk_spiking_biases(c, at, rows);
    }
}

// x: (inputs,); trace: (1,) to work in.
#define SPK_SPIKING_UPDATE(name, type)                                                             \
    SPK_INLINE void spk_spiking_update_##name(const struct spk_spiking_update *c, const type *x,   \
                                              const struct spk_spiking_parts *at,                  \
                                              int32_t *trace) {                                    \
        for (uint32_t i = 0; c->rates && i < c->trace.inputs; i++) {                               \
            if (x[i] != 0) {                                                                       \
                *trace = x[i];                                                                     \
                spk_spiking_row(c, at, i, trace);                                                  \
            }                                                                                      \
        }                                                                                          \
        if (c->bias_rates) {                                                                       \
            *trace = 1;                                                                            \
            spk_spiking_biases(c, at, trace);                                                      \
        }                                                                                          \
    }
SPK_SPIKING_UPDATE(u8, uint8_t)
SPK_SPIKING_UPDATE(i8, int8_t)
SPK_SPIKING_UPDATE(i16, int16_t)
#undef SPK_SPIKING_UPDATE

#endif
