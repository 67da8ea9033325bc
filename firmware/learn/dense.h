// Trainable dense layer. Golden twin: pytools/spikelet/learn/layers/dense.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LEARN_DENSE_H
#define SPK_LEARN_DENSE_H

#include "learn/scalar.h"

struct spk_dense_forward {
    uint32_t inputs;
    struct spk_source source;
    struct spk_narrowing scale; // of the outputs
    bool relu;
};

// y[o] = bias[o] + sum over i of weight[o, i] * x[i] of `rows` outputs, at most 4.
SPK_INLINE void spk_dense_rows(const struct spk_dense_forward *c, enum spk_code code, uint32_t rows,
                               const void *x, const spk_weight *weight, const spk_sum *bias,
                               spk_value *y) {
    struct spk_source source = c->source;
    source.code = (uint8_t)code; // known where this is called
    const uint32_t n = c->inputs;
    const spk_weight *row[4] = {weight, weight + n, weight + 2 * n, weight + 3 * n};
    spk_sum acc[4] = {0};
    SPK_UNROLL(4)
    for (uint32_t o = 0; o < rows; o++) {
        acc[o] = bias[o];
    }
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        SPK_UNROLL(4)
        for (uint32_t j = 0; j < 4; j++) {
            const spk_sum in = spk_source(&source, x, i + j);
            SPK_UNROLL(4)
            for (uint32_t o = 0; o < rows; o++) {
                acc[o] = spk_mac(acc[o], spk_widen(row[o][j]), in);
            }
#if !SPK_SCALAR_FLOAT
            SPK_IN_ORDER(); // loads of four inputs at once would push the sums out of registers
#endif
        }
        SPK_UNROLL(4)
        for (uint32_t o = 0; o < rows; o++) {
            row[o] += 4;
            SPK_OPAQUE(row[o]); // else the compiler recomputes it from the first row for each input
        }
    }
    for (; i < n; i++) {
        const spk_sum in = spk_source(&source, x, i);
        SPK_UNROLL(4)
        for (uint32_t o = 0; o < rows; o++) {
            acc[o] = spk_mac(acc[o], spk_widen(*row[o]++), in);
        }
    }
    SPK_UNROLL(4)
    for (uint32_t o = 0; o < rows; o++) {
        const spk_value out = spk_value_of(acc[o], &c->scale);
        y[o] = c->relu && out < 0 ? 0 : out;
    }
}

SPK_INLINE void spk_dense_forward(const struct spk_dense_forward *c, enum spk_code code,
                                  uint32_t rows, const void *x, const spk_weight *weight,
                                  const spk_sum *bias, spk_value *y) {
    uint32_t o = 0;
    for (; o + 4 <= rows; o += 4) {
        spk_dense_rows(c, code, 4, x, weight + o * c->inputs, bias + o, y + o);
    }
    if (o + 2 <= rows) {
        spk_dense_rows(c, code, 2, x, weight + o * c->inputs, bias + o, y + o);
        o += 2;
    }
    if (o < rows) {
        spk_dense_rows(c, code, 1, x, weight + o * c->inputs, bias + o, y + o);
    }
}

// x: (inputs,) values or codes; weight: (rows, inputs); bias, y: (rows,). One copy an image for
// each type of x.
#define SPK_DENSE_FORWARD(name, code)                                                              \
    SPK_SHARED void spk_dense_forward_##name(                                                      \
        const struct spk_dense_forward *config, uint32_t rows, const void *x,                      \
        const spk_weight *weight, const spk_sum *bias, spk_value *y) {                             \
        const struct spk_dense_forward c = *config; /* in registers */                             \
        spk_dense_forward(&c, code, rows, x, weight, bias, y);                                     \
    }
SPK_DENSE_FORWARD(value, SPK_CODE_VALUE)
SPK_DENSE_FORWARD(u8, SPK_CODE_U8)
SPK_DENSE_FORWARD(i8, SPK_CODE_I8)
#undef SPK_DENSE_FORWARD

struct spk_dense_update {
    uint32_t inputs;
    uint32_t rows;   // that learn: the first ones
    uint32_t frozen; // further rows, which do not
    struct spk_source source;
    bool mask; // the input gradient is 0 where the input is not positive: it left a ReLU
    struct spk_narrowing scale; // of the input gradient
    struct spk_sgd sgd;
    struct spk_sgd bias;
    bool biased; // the bias learns
    uint32_t batch;
};

// What one step reads and writes; NULL where a layer has no such tensor.
struct spk_dense_step {
    const spk_value *error;  // (rows + frozen,)
    const void *x;           // (inputs,) values or codes
    spk_value *to;           // (inputs,) the input gradient; may lie over x
    spk_weight *weight;      // (rows, inputs)
    const spk_weight *held;  // (frozen, inputs)
    spk_value *velocity;     // (rows, inputs)
    spk_sum *bias;           // (rows + frozen,)
    spk_sum *bias_velocity;  // (rows + frozen,)
    void *kept_x;            // (batch - 1, inputs), as x
    spk_value *kept_error;   // (batch - 1, rows + frozen)
    uint32_t *count;         // (1,) samples that are kept
    uint32_t *random;        // (1,)
    uint32_t *health;        // (1,) saturations of weights and biases
    const int32_t *schedule; // (1,) Q15, the part of the rate
};

// What is known where a step is called.
struct spk_dense_kind {
    bool gradient; // the input gradient is wanted
    bool plain;    // no momentum, no decay, batch 1: an error of 0 changes nothing
};

// Columns k to k + columns, at most 4: weights change and the input gradient is summed in one pass.
SPK_INLINE void spk_learn_columns(const struct spk_dense_update *c, struct spk_dense_kind kind,
                                  const struct spk_sgd *sgd, const struct spk_dense_step *s,
                                  uint32_t k, uint32_t columns, bool update) {
    const uint32_t n = c->inputs;
    const uint32_t outputs = c->rows + c->frozen;
    const uint32_t before = kind.plain ? 0 : c->batch - 1;
    uint32_t *const random = s->random;
    uint32_t *const health = s->health;
    spk_weight *weight = c->rows != 0 ? s->weight + k : 0;
    spk_sum in[4] = {0}, acc[4] = {0};
    SPK_UNROLL(4)
    for (uint32_t j = 0; j < columns; j++) {
        in[j] = spk_source(&c->source, s->x, k + j);
    }
    for (uint32_t o = 0; o < c->rows; o++, weight += n) {
        const spk_sum error = s->error[o];
        if (kind.plain && error == 0) {
            continue;
        }
        spk_sum rated = sgd->rate * error;
#if !SPK_SCALAR_FLOAT
        SPK_OPAQUE(rated); // else the compiler multiplies it out again for each weight
#endif
        const uint32_t drawn = spk_stochastic(sgd) && update ? spk_draw(random) : 0;
        SPK_UNROLL(4)
        for (uint32_t j = 0; j < columns; j++) {
            const spk_sum w = spk_widen(weight[j]);
            if (kind.gradient) {
                acc[j] = spk_mac(acc[j], error, w);
            }
            if (!update) {
                continue;
            }
            const uint32_t at = o * n + k + j;
            spk_value *const u = !kind.plain && s->velocity ? s->velocity + at : 0;
            spk_sum d = spk_begin(sgd, w, u ? *u : 0);
            for (uint32_t b = 0; b < before; b++) {
                const spk_sum then = sgd->rate * s->kept_error[b * outputs + o];
                d = spk_mac(d, then, spk_source(&c->source, s->kept_x, b * n + k + j));
            }
            d = spk_mac(d, rated, in[j]);
            spk_end(sgd, weight + j, w, u, d, drawn >> (8 * j), health);
        }
    }
    if (!kind.gradient) {
        return;
    }
    const spk_weight *held = c->frozen != 0 ? s->held + k : 0;
    for (uint32_t o = 0; o < c->frozen; o++, held += n) {
        const spk_sum error = s->error[c->rows + o];
        SPK_UNROLL(4)
        for (uint32_t j = 0; j < columns; j++) {
            acc[j] = spk_mac(acc[j], error, spk_widen(held[j]));
        }
    }
    SPK_UNROLL(4)
    for (uint32_t j = 0; j < columns; j++) {
        s->to[k + j] = c->mask && in[j] <= 0 ? 0 : spk_value_of(acc[j], &c->scale);
    }
}

// Keeps this sample for the step at the end of its batch.
SPK_INLINE void spk_dense_keep(const struct spk_dense_update *c, const struct spk_dense_step *s) {
    const uint32_t outputs = c->rows + c->frozen;
    const uint32_t bytes = c->source.code == SPK_CODE_VALUE ? sizeof(spk_value) : 1;
    const uint32_t slot = *s->count;
    if (s->kept_x) {
        __builtin_memcpy((uint8_t *)s->kept_x + slot * c->inputs * bytes, s->x, c->inputs * bytes);
    }
    __builtin_memcpy(s->kept_error + slot * outputs, s->error, outputs * sizeof(spk_value));
    *s->count = slot + 1;
}

SPK_INLINE void spk_dense_bias(const struct spk_dense_update *c, struct spk_dense_kind kind,
                               const struct spk_sgd *sgd, const struct spk_dense_step *s) {
    const uint32_t outputs = c->rows + c->frozen;
    const uint32_t before = kind.plain ? 0 : c->batch - 1;
    for (uint32_t o = 0; o < outputs; o++) {
        spk_sum gradient = before != 0 ? s->kept_error[o] : s->error[o];
        for (uint32_t b = 1; b <= before; b++) {
            gradient += b < before ? s->kept_error[b * outputs + o] : s->error[o];
        }
        spk_sum *const u = !kind.plain && s->bias_velocity ? s->bias_velocity + o : 0;
        spk_learn_bias(sgd, s->bias + o, u, gradient, s->health);
    }
}

// One sample: the weights' step, at the end of a batch, and the input gradient, if it is wanted.
SPK_INLINE void spk_dense_learn(const struct spk_dense_update *c, struct spk_dense_kind kind,
                                bool stochastic, const struct spk_dense_step *s) {
    struct spk_sgd sgd = s->schedule ? spk_scheduled(&c->sgd, *s->schedule) : c->sgd;
    if (kind.plain) {
        sgd.momentum = 0;
        sgd.decay = 0;
    }
#if !SPK_SCALAR_FLOAT
    sgd.stochastic = stochastic;
#else
    (void)stochastic;
#endif
    const bool full = kind.plain || c->batch == 1 || *s->count + 1 == c->batch;
    if (!full) {
        spk_dense_keep(c, s); // before the gradient takes the place of x
    } else if (!kind.plain && c->batch > 1) {
        *s->count = 0;
    }
    if (kind.gradient || (full && c->rows != 0)) {
        uint32_t k = 0;
        for (; k + 4 <= c->inputs; k += 4) {
            spk_learn_columns(c, kind, &sgd, s, k, 4, full);
        }
        if (k < c->inputs) {
            spk_learn_columns(c, kind, &sgd, s, k, c->inputs - k, full);
        }
    }
    if (full && c->biased) {
        struct spk_sgd bias = s->schedule ? spk_scheduled(&c->bias, *s->schedule) : c->bias;
        if (kind.plain) {
            bias.momentum = 0;
        }
        spk_dense_bias(c, kind, &bias, s);
    }
}

// One copy an image of each that is used.
#define SPK_DENSE_LEARN(name, gradient_, plain_, stochastic_)                                      \
    SPK_SHARED void spk_dense_learn_##name(const struct spk_dense_update *config,                  \
                                           const struct spk_dense_step *step) {                    \
        /* Copies stay in registers: no store to a tensor may change them. */                      \
        const struct spk_dense_update c = *config;                                                 \
        const struct spk_dense_step s = *step;                                                     \
        const struct spk_dense_kind kind = {.gradient = gradient_, .plain = plain_};               \
        spk_dense_learn(&c, kind, stochastic_, &s);                                                \
    }
SPK_DENSE_LEARN(first_plain_nearest, false, true, false)
SPK_DENSE_LEARN(first_plain_stochastic, false, true, true)
SPK_DENSE_LEARN(first_any_nearest, false, false, false)
SPK_DENSE_LEARN(first_any_stochastic, false, false, true)
SPK_DENSE_LEARN(inner_plain_nearest, true, true, false)
SPK_DENSE_LEARN(inner_plain_stochastic, true, true, true)
SPK_DENSE_LEARN(inner_any_nearest, true, false, false)
SPK_DENSE_LEARN(inner_any_stochastic, true, false, true)
#undef SPK_DENSE_LEARN

#endif
