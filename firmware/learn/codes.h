// Values rounded to the codes of a deployed int8 layer and held within its clamp, and the gradient
// of that. Golden twin: pytools/spikelet/learn/layers/codes.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LEARN_CODES_H
#define SPK_LEARN_CODES_H

#include "learn/scalar.h"

struct spk_as_codes {
    uint32_t size;
    int32_t low, high; // codes
#if SPK_SCALAR_FLOAT
    float inverse, scale; // of a code
    const float *half;    // (channels,) what is added before the fraction is dropped
    uint32_t channels;
#else
    struct spk_narrowing narrowing;
    int32_t nudge; // of x, away from 0
    int32_t one;   // what a code counts: 2^fraction
#endif
};

#if SPK_SCALAR_FLOAT
SPK_INLINE float spk_as_code(const struct spk_as_codes *c, float x, float half) {
    float scaled = x * c->inverse;
    if (scaled != scaled) {
        return spk_number(scaled);
    }
    const float low = (float)c->low;
    const float high = (float)c->high;
    scaled = scaled > high ? high : scaled;
    scaled = scaled < low ? low : scaled; // within 16 bits: the conversion is defined
    const float size = (float)(int32_t)((scaled < 0 ? -scaled : scaled) + half);
    return (scaled < 0 ? -size : size) * c->scale + 0.0f; // no zero below zero
}
#endif

// x: (size,) values, channels last; y: (size,), may lie over x.
SPK_SHARED void spk_as_codes(const struct spk_as_codes *c, const spk_value *x, spk_value *y) {
#if SPK_SCALAR_FLOAT
    for (uint32_t i = 0; i < c->size; i += c->channels) {
        for (uint32_t k = 0; k < c->channels; k++) {
            y[i + k] = spk_as_code(c, x[i + k], c->half[k]);
        }
    }
#else
    for (uint32_t i = 0; i < c->size; i++) {
        const int32_t nudge = x[i] < 0 ? -c->nudge : c->nudge;
        const int32_t code = spk_narrow(x[i] == 0 ? 0 : x[i] + nudge, &c->narrowing);
        const int32_t held = code > c->high ? c->high : code;
        y[i] = (spk_value)((held < c->low ? c->low : held) * c->one);
    }
#endif
}

struct spk_as_codes_gradient {
    uint32_t size;
    spk_value low, high; // values at the limits
};

// error, y: (size,), y from the forward pass; to: (size,), may lie over either.
SPK_SHARED void spk_as_codes_gradient(const struct spk_as_codes_gradient *c, const spk_value *error,
                                      const spk_value *y, spk_value *to) {
    for (uint32_t i = 0; i < c->size; i++) {
        const bool inside = y[i] > c->low && y[i] < c->high;
        to[i] = inside ? error[i] : (spk_value)0;
    }
}

#endif
