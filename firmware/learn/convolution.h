// What convolutions that learn share: operands, weights of which a part learns, the step. Golden
// twin: pytools/spikelet/learn/bases/convolution.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LEARN_CONVOLUTION_H
#define SPK_LEARN_CONVOLUTION_H

#include "learn/scalar.h"
#include "learn/window.h"

// A tile of sums stays in registers: four channels of SPK_CONV_WIDE pixels, or, of weights'
// gradients, four inputs of SPK_CONV_WIDE outputs. Each operand that is loaded serves them all.
#if SPK_SCALAR_FLOAT && (defined(__riscv_flen) || defined(__ARM_FEATURE_FMA))
#define SPK_CONV_WIDE 4u
#define SPK_CONV_UNROLL 4
#define SPK_CONV_WRITES 4
#else
#define SPK_CONV_WIDE 2u // sums, operands and pointers fit the 31 registers of an integer core
#define SPK_CONV_UNROLL (SPK_SCALAR_FLOAT ? 1 : 2)
#define SPK_CONV_WRITES 1 // it takes a dozen instructions to make a value
#endif
#define SPK_CONV_EACH(i, n) SPK_UNROLL(4) for (uint32_t i = 0; i < (n); i++)

// Forward pass and input gradient.
struct spk_convolution {
    struct spk_window window;
    int32_t outputs;
    int32_t learned;            // outputs whose weights learn: the first ones
    struct spk_narrowing scale; // of what is written
    struct spk_source source;   // of the input: int8 codes or values
    bool relu;                  // forward: negative outputs become 0
};

struct spk_conv_update {
    struct spk_window window;
    int32_t outputs;
    int32_t learned;
    struct spk_source source;
    int32_t batch; // samples of a step
    struct spk_sgd sgd;
    struct spk_sgd bias_sgd;
};

// What one step reads and writes; NULL where a layer has no such tensor.
struct spk_conv_step {
    const spk_value *error; // (out_height, out_width, outputs)
    const void *x;          // (height, width, channels), values or codes
    spk_weight *weight;     // (..., learned)
    spk_sum *bias;          // (outputs,)
    spk_value *velocity;    // of the weight's shape
    spk_sum *bias_velocity; // of the bias's shape
    void *kept_x;           // (batch - 1, height, width, channels)
    spk_value *kept_error;  // (batch - 1, out_height, out_width, outputs)
    uint32_t *count;        // samples that are kept
    uint32_t *random;       // state
    uint32_t *health;       // counts saturations
    const int32_t *schedule;
};

// The kernels for int8 codes are there only where a layer reads some.
#ifdef SPK_CONV_CODES
#define SPK_CONV_CODED(c) ((c)->source.code != SPK_CODE_VALUE)
#else
#define SPK_CONV_CODED(c) ((void)(c), false)
#endif

// Element `at` of an input of values, or, with a source, of codes.
SPK_INLINE spk_sum spk_conv_load(const void *x, uint32_t at, const struct spk_source *codes) {
    if (!codes) {
        return ((const spk_value *)x)[at];
    }
    const int32_t code = ((const int8_t *)x)[at] - codes->zero_point;
#if SPK_SCALAR_FLOAT
    return (float)code * codes->scale;
#else
    return code;
#endif
}

// x + n elements.
SPK_INLINE const void *spk_conv_skip(const void *x, int32_t n, bool codes) {
    return codes ? (const void *)((const int8_t *)x + n) : (const void *)((const spk_value *)x + n);
}

SPK_INLINE spk_value spk_conv_output(const struct spk_convolution *c, spk_sum sum) {
    const spk_value value = spk_value_of(sum, &c->scale);
    return c->relu && value < 0 ? 0 : value;
}

// kept: the input that the gradient is of, where a ReLU made it, or 0.
SPK_INLINE spk_value spk_conv_gradient(const struct spk_convolution *c, spk_sum sum,
                                       const spk_value *kept) {
    return kept && !(*kept > 0) ? 0 : spk_value_of(sum, &c->scale);
}

// The weights of the outputs first..first + outputs: (kernel_height, kernel_width, ..., outputs).
struct spk_conv_part {
    const spk_weight *weights;
    int32_t first, outputs;
};

// One pixel of a row or SPK_CONV_WIDE neighbours: their taps, which are the same ones.
struct spk_conv_group {
    struct spk_reach taps;
    int32_t pixels;
};

// Outputs from `to` on.
SPK_INLINE struct spk_conv_group spk_conv_outputs_at(const struct spk_window *g, int32_t to) {
    const int32_t most = (int32_t)SPK_CONV_WIDE;
    const struct spk_reach right =
        spk_reach_output(to, g->stride_right, g->pad_left, g->kernel_width, g->width);
    const struct spk_reach last =
        spk_reach_output(to + most - 1, g->stride_right, g->pad_left, g->kernel_width, g->width);
    const bool alike = to + most <= g->out_width && spk_reach_same(right, last);
    return (struct spk_conv_group){right, alike ? most : 1};
}

// Pixels of the input from `at` on, a stride apart: they see neighbouring outputs.
SPK_INLINE struct spk_conv_group spk_conv_inputs_at(const struct spk_window *g, int32_t at,
                                                    int32_t stride) {
    const int32_t most = (int32_t)SPK_CONV_WIDE;
    const int32_t far = (most - 1) * stride;
    const struct spk_reach right =
        spk_reach_input(at, stride, g->pad_left, g->kernel_width, g->out_width);
    const struct spk_reach last =
        spk_reach_input(at + far, stride, g->pad_left, g->kernel_width, g->out_width);
    const bool alike = at + far < g->width && spk_reach_same(right, last);
    return (struct spk_conv_group){right, alike ? most : 1};
}

// Whether the batch is complete; else the sample is kept.
SPK_SHARED bool spk_conv_complete(const struct spk_conv_update *c, const struct spk_conv_step *s) {
    const struct spk_window *g = &c->window;
    if (!s->count) {
        return true;
    }
    const int32_t n = (int32_t)*s->count;
    if (n >= c->batch - 1) {
        *s->count = 0;
        return true;
    }
    const int32_t errors = g->out_height * g->out_width * c->outputs;
    for (int32_t i = 0; i < errors; i++) {
        s->kept_error[n * errors + i] = s->error[i];
    }
    const int32_t size = g->height * g->width * g->channels;
    for (int32_t i = 0; s->kept_x && i < size; i++) {
        if (SPK_CONV_CODED(c)) {
            ((int8_t *)s->kept_x)[n * size + i] = ((const int8_t *)s->x)[i];
        } else {
            ((spk_value *)s->kept_x)[n * size + i] = ((const spk_value *)s->x)[i];
        }
    }
    *s->count = (uint32_t)n + 1;
    return false;
}

// The step at this moment's part of its rate.
SPK_INLINE struct spk_sgd spk_conv_now(const struct spk_sgd *sgd, const struct spk_conv_step *s) {
    return s->schedule ? spk_scheduled(sgd, *s->schedule) : *sgd;
}

// Each bias moves by the sum of its errors over all pixels.
SPK_SHARED void spk_conv_update_bias(const struct spk_conv_update *c,
                                     const struct spk_conv_step *s) {
    if (!s->bias) {
        return;
    }
    const struct spk_sgd sgd = spk_conv_now(&c->bias_sgd, s);
    const int32_t pixels = c->window.out_height * c->window.out_width;
    for (int32_t o = 0; o < c->outputs; o++) {
        spk_sum sum = 0;
        for (int32_t n = 0; n < c->batch; n++) {
            const spk_value *from =
                n < c->batch - 1 ? s->kept_error + n * pixels * c->outputs : s->error;
            from += o;
            for (int32_t p = 0; p < pixels; p++) {
                sum += *from;
                from += c->outputs;
            }
        }
        spk_learn_bias(&sgd, s->bias + o, s->bias_velocity ? s->bias_velocity + o : 0, sum,
                       s->health);
    }
}

// The pixels that weights' gradients are sums over. Steps count elements.
struct spk_conv_pixels {
    int32_t rows, columns;
    int32_t x_row, x_pixel, x_size; // x_size: from sample to sample of a batch
    int32_t dy_row, dy_pixel, dy_size;
    int32_t x, dy; // where the first pixels lie
    int32_t batch;
    const struct spk_sgd *sgd;
    const struct spk_source *codes;
    int32_t next; // from the weight of an input to that of the next
};

// Pixels of all taps; the rest is a tap's own.
SPK_INLINE struct spk_conv_pixels spk_conv_pixels(const struct spk_conv_update *c,
                                                  const struct spk_sgd *sgd) {
    const struct spk_window *g = &c->window;
    const int32_t row = g->width * g->channels;
    const int32_t dy_row = g->out_width * c->outputs;
    return (struct spk_conv_pixels){.x_row = g->stride_down * row,
                                    .x_pixel = g->stride_right * g->channels,
                                    .x_size = g->height * row,
                                    .dy_row = dy_row,
                                    .dy_pixel = c->outputs,
                                    .dy_size = g->out_height * dy_row,
                                    .batch = c->batch,
                                    .sgd = sgd,
                                    .codes = &c->source,
                                    .next = c->learned};
}

// Those of one tap.
SPK_INLINE void spk_conv_at_tap(struct spk_conv_pixels *k, const struct spk_conv_update *c,
                                int32_t i, int32_t j) {
    const struct spk_window *g = &c->window;
    const struct spk_reach down =
        spk_reach_tap(i, g->stride_down, g->pad_top, g->height, g->out_height);
    const struct spk_reach right =
        spk_reach_tap(j, g->stride_right, g->pad_left, g->width, g->out_width);
    k->rows = down.count;
    k->columns = right.count;
    k->x = (down.source * g->width + right.source) * g->channels;
    k->dy = (down.first * g->out_width + right.first) * c->outputs;
}

SPK_INLINE const void *spk_conv_sample(const struct spk_conv_pixels *k,
                                       const struct spk_conv_step *s, int32_t n, bool coded) {
    const void *x = n < k->batch - 1 ? spk_conv_skip(s->kept_x, n * k->x_size, coded) : s->x;
    return spk_conv_skip(x, k->x, coded);
}

SPK_INLINE const spk_value *spk_conv_error(const struct spk_conv_pixels *k,
                                           const struct spk_conv_step *s, int32_t n) {
    return (n < k->batch - 1 ? s->kept_error + n * k->dy_size : s->error) + k->dy;
}

// A step of inputs x outputs weights, gradients (outputs, 4). One random number is for the inputs
// of an output, a byte each.
SPK_SHARED void spk_conv_apply(const struct spk_conv_pixels *k, const struct spk_conv_step *s,
                               spk_sum gradients[4][4], int32_t weight, uint32_t inputs,
                               uint32_t outputs) {
    for (uint32_t o = 0; o < outputs; o++) {
        uint32_t random = spk_stochastic(k->sgd) ? spk_draw(s->random) : 0;
        int32_t at = weight + (int32_t)o;
        for (uint32_t i = 0; i < inputs; i++) {
            spk_learn(k->sgd, s->weight + at, s->velocity ? s->velocity + at : 0, gradients[o][i],
                      random, s->health);
            random >>= 8;
            at += k->next;
        }
    }
}

#endif
