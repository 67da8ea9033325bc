// The number type of the trainable layers, one an image: SPK_SCALAR_F32, _F16, _I16 or _I8.
// Golden twin: pytools/spikelet/learn/numbers/scalar.py, which tells the formats.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LEARN_SCALAR_H
#define SPK_LEARN_SCALAR_H

#include "kernels/fixed.h"

#if SPK_SCALAR_F32 || SPK_SCALAR_F16

#include "learn/float32.h"

#define SPK_SCALAR_FLOAT 1
typedef float spk_value; // an activation, an error, a velocity: as it is stored
typedef float spk_sum;   // what is calculated with; a bias
#if SPK_SCALAR_F16
typedef uint16_t spk_weight; // half precision
#else
typedef float spk_weight;
#endif

#else

#define SPK_SCALAR_FLOAT 0
typedef int16_t spk_value;
typedef int32_t spk_sum;
#if SPK_SCALAR_I8
typedef int8_t spk_weight;
#else
typedef int16_t spk_weight;
#endif

#endif

// From the units of a sum to those of a stored value.
struct spk_narrowing {
#if SPK_SCALAR_FLOAT
    float multiplier;
#else
    int32_t multiplier; // value = sum * multiplier / 2^shift, to nearest
    uint32_t shift;     // 1 to 62
    int32_t limit;      // it saturates at +-limit
#endif
};

// One step of stochastic gradient descent.
struct spk_sgd {
#if SPK_SCALAR_FLOAT
    float rate;     // -(learning rate) / batch
    float decay;    // -(learning rate) * (weight decay)
    float momentum; // 0: without velocity
#else
    int32_t rate;      // -(learning rate) / batch, in 2^-shift of a weight's step
    int32_t decay;     // -(learning rate) * (weight decay) * 2^shift
    uint32_t shift;    // 1 to 62, 9 or more with random bytes
    int32_t momentum;  // Q15, 0: without velocity
    uint32_t fraction; // bits that a velocity has beyond a weight's step, 1 to 8
    int32_t limit;     // a weight saturates at +-limit
    bool stochastic;   // rounds by a random byte, else to nearest
#endif
};

// What a layer reads: values, or the codes of an integer tensor, real = (code - zero point) *
// scale.
enum spk_code { SPK_CODE_VALUE, SPK_CODE_U8, SPK_CODE_I8 };

struct spk_source {
    uint8_t code; // enum spk_code
    int32_t zero_point;
#if SPK_SCALAR_FLOAT
    float scale; // of a code
#endif
};

// Element i as what is calculated with: a float, or the code without its zero point.
SPK_INLINE spk_sum spk_source(const struct spk_source *c, const void *x, uint32_t i) {
    if (c->code == SPK_CODE_VALUE) {
        return ((const spk_value *)x)[i];
    }
    const int32_t code = c->code == SPK_CODE_U8 ? ((const uint8_t *)x)[i] : ((const int8_t *)x)[i];
#if SPK_SCALAR_FLOAT
    return (float)(code - c->zero_point) * c->scale;
#else
    return code - c->zero_point;
#endif
}

SPK_INLINE spk_sum spk_widen(spk_weight w) {
#if SPK_SCALAR_F16
    return spk_from_half(w);
#else
    return w;
#endif
}

SPK_INLINE bool spk_stochastic(const struct spk_sgd *c) {
#if SPK_SCALAR_FLOAT
    (void)c;
    return false;
#else
    return c->stochastic;
#endif
}

SPK_INLINE spk_sum spk_mac(spk_sum acc, spk_sum a, spk_sum b) {
#if SPK_SCALAR_FLOAT
    return spk_fma(a, b, acc);
#else
    return acc + a * b; // proved to fit
#endif
}

#if !SPK_SCALAR_FLOAT
SPK_INLINE int32_t spk_clip(int32_t v, int32_t limit) {
    v = v > limit ? limit : v;
    return v < -limit ? -limit : v;
}
#endif

#if SPK_SCALAR_FLOAT
// Cores differ in the bits of what is not a number. Compilers do not care which they are, so they
// must not know that this is about them.
SPK_INLINE float spk_number(float value) {
    if (__builtin_expect(value != value, 0)) {
        uint32_t bits = 0x7FC00000u;
        SPK_OPAQUE(bits);
        return spk_from_bits(bits);
    }
    return value;
}
#endif

SPK_INLINE spk_value spk_narrow(spk_sum sum, const struct spk_narrowing *c) {
#if SPK_SCALAR_FLOAT
    return spk_number(c->multiplier == 1.0f ? sum : sum * c->multiplier);
#else
    const int64_t half = INT64_C(1) << (c->shift - 1);
    if (c->multiplier == 1 && c->shift < 32) {
        // Half of a unit is added after all but one bit of the shift: no carry is lost.
        return (spk_value)spk_clip(((sum >> (c->shift - 1)) + 1) >> 1, c->limit);
    }
    const int64_t scaled = ((int64_t)sum * c->multiplier + half) >> c->shift;
    const int64_t low = scaled > c->limit ? c->limit : scaled;
    return (spk_value)(low < -c->limit ? -c->limit : low);
#endif
}

// The same of a layer, whose float values have no scale.
SPK_INLINE spk_value spk_value_of(spk_sum sum, const struct spk_narrowing *c) {
#if SPK_SCALAR_FLOAT
    (void)c;
    return spk_number(sum);
#else
    return spk_narrow(sum, c);
#endif
}

// A random byte for each of four weights, lowest first, is one draw of xorshift32.
SPK_INLINE uint32_t spk_draw(uint32_t *random) {
    *random = spk_xorshift32(*random);
    return *random;
}

#if !SPK_SCALAR_FLOAT
// What is added before a shift: half a unit, or the random byte in the middle of its 256th part.
SPK_INLINE int32_t spk_dither(const struct spk_sgd *c, uint32_t shift, uint32_t byte) {
    return c->stochastic ? (int32_t)((2 * (byte & 255) + 1) << (shift - 9))
                         : (int32_t)(1u << (shift - 1));
}

// One more value that was held back; the count stays at its end.
SPK_INLINE void spk_saturated(uint32_t *saturations) {
    *saturations += (int32_t)*saturations < INT32_MAX;
}

// Moves a weight by `step` of its steps.
SPK_INLINE void spk_move(const struct spk_sgd *c, spk_weight *weight, int32_t w, int32_t step,
                         uint32_t *saturations) {
    int32_t moved = w + step;
    if ((uint32_t)(moved + c->limit) > 2 * (uint32_t)c->limit) {
        spk_saturated(saturations);
        moved = spk_clip(moved, c->limit);
    }
    SPK_OPAQUE(moved); // keeps the compiler from sign-extending what it is about to truncate
    *weight = (spk_weight)moved;
}
#endif

// The update of a weight w with velocity u goes in three parts: spk_begin, a chain of spk_mac over
// the batch with rate * error, spk_end.
SPK_INLINE spk_sum spk_begin(const struct spk_sgd *c, spk_sum w, spk_sum u) {
#if SPK_SCALAR_FLOAT
    const float kept = c->momentum != 0.0f ? c->momentum * u : w;
    return c->decay != 0.0f ? spk_fma(c->decay, w, kept) : kept;
#else
    (void)u; // its momentum is added at the end, in its own units
    return c->decay * w;
#endif
}

#if !SPK_SCALAR_FLOAT
// `change` is the step of the weight, or, with momentum, what the velocity gains.
SPK_INLINE void spk_end_fixed(const struct spk_sgd *c, spk_weight *weight, int32_t w,
                              spk_value *velocity, int32_t change, uint32_t byte,
                              uint32_t *saturations) {
    if (c->momentum != 0) {
        const int32_t u = ((c->momentum * *velocity + (1 << 14)) >> 15) + change;
        const int32_t held = spk_clip(u, INT16_MAX);
        if (held != u) {
            spk_saturated(saturations);
        }
        *velocity = (spk_value)held;
        const int32_t dither = c->stochastic ? (int32_t)((byte & 255) >> (8 - c->fraction))
                                             : (int32_t)(1u << (c->fraction - 1));
        change = (held + dither) >> c->fraction;
    }
    spk_move(c, weight, w, change, saturations);
}
#endif

// w: the weight as it was; d: from spk_begin and spk_mac; byte: random, its low 8 bits.
SPK_INLINE void spk_end(const struct spk_sgd *c, spk_weight *weight, spk_sum w, spk_value *velocity,
                        spk_sum d, uint32_t byte, uint32_t *saturations) {
#if SPK_SCALAR_FLOAT
    (void)byte;
    (void)saturations;
    if (c->momentum != 0.0f) {
        *velocity = d;
        d = w + d;
    }
#if SPK_SCALAR_F16
    *weight = spk_to_half(d);
#else
    *weight = d;
#endif
#else
    const bool heavy = c->momentum != 0;
    const uint32_t shift = heavy ? c->shift - c->fraction : c->shift;
    const int32_t dither = heavy ? (int32_t)(1u << (shift - 1)) : spk_dither(c, shift, byte);
    spk_end_fixed(c, weight, w, velocity, (d + dither) >> shift, byte, saturations);
#endif
}

// One step of a weight from its whole gradient, a sum of products.
SPK_INLINE void spk_learn(const struct spk_sgd *c, spk_weight *weight, spk_value *velocity,
                          spk_sum gradient, uint32_t byte, uint32_t *saturations) {
    const spk_sum w = spk_widen(*weight);
#if SPK_SCALAR_FLOAT
    const spk_sum u = c->momentum != 0.0f ? *velocity : 0;
    const spk_sum d = spk_fma(c->rate, gradient, spk_begin(c, w, u));
    spk_end(c, weight, w, velocity, d, byte, saturations);
#else
    const bool heavy = c->momentum != 0;
    const uint32_t shift = heavy ? c->shift - c->fraction : c->shift;
    const int64_t d = (int64_t)gradient * c->rate + (int64_t)c->decay * w;
    const int64_t dither = heavy || !c->stochastic ? INT64_C(1) << (shift - 1)
                                                   : (int64_t)(2 * (byte & 255) + 1) << (shift - 9);
    const int64_t change = (d + dither) >> shift;
    const int64_t low = change > 1 << 20 ? 1 << 20 : change;
    spk_end_fixed(c, weight, w, velocity, (int32_t)(low < -(1 << 20) ? -(1 << 20) : low), byte,
                  saturations);
#endif
}

// One step of a bias, in units of a sum; no decay, to nearest. velocity: of a bias, 0 without.
SPK_INLINE void spk_learn_bias(const struct spk_sgd *c, spk_sum *bias, spk_sum *velocity,
                               spk_sum gradient, uint32_t *saturations) {
#if SPK_SCALAR_FLOAT
    (void)saturations;
    if (c->momentum != 0.0f) {
        *velocity = spk_fma(c->rate, gradient, c->momentum * *velocity);
        *bias += *velocity;
    } else {
        *bias = spk_fma(c->rate, gradient, *bias);
    }
#else
    int64_t change = ((int64_t)gradient * c->rate + (INT64_C(1) << (c->shift - 1))) >> c->shift;
    if (c->momentum != 0) {
        change += ((int64_t)c->momentum * *velocity + (1 << 14)) >> 15;
        change = change > c->limit ? c->limit : change;
        change = change < -c->limit ? -c->limit : change;
        *velocity = (int32_t)change;
    }
    const int64_t moved = *bias + change;
    const int64_t low = moved > c->limit ? c->limit : moved;
    *bias = (int32_t)(low < -c->limit ? -c->limit : low);
    if (*bias != moved) {
        spk_saturated(saturations);
    }
#endif
}

// The same step at a part of its rate; schedule: Q15, 2^15 for the whole.
SPK_INLINE struct spk_sgd spk_scheduled(const struct spk_sgd *c, int32_t schedule) {
    struct spk_sgd now = *c;
#if SPK_SCALAR_FLOAT
    const float part = (float)schedule * 0x1p-15f;
    now.rate = c->rate * part;
    now.decay = c->decay * part;
#else
    now.rate = (int32_t)(((int64_t)c->rate * schedule + (1 << 14)) >> 15);
    now.decay = (int32_t)(((int64_t)c->decay * schedule + (1 << 14)) >> 15);
#endif
    return now;
}

#endif
