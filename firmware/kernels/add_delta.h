// What an adapter adds to a layer's codes. Golden twin: pytools/spikelet/graph/ops/add_delta.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_ADD_DELTA_H
#define SPK_ADD_DELTA_H

#include "kernels/geometry.h"
#include "kernels/requantise.h"

#define SPK_MOST_MIDDLE 127
#define SPK_MOST_WHOLE 255

struct spk_add_delta {
    struct spk_geometry geometry; // of the layer: x (height, width, channels)
    uint16_t rank;                // rows of `down`; 0: it is one matrix (outputs, taps)
    uint16_t row_bytes;           // of a row of `down`
    uint16_t kept;                // taps of a row, by chance; 0: all
    bool own;                     // output o sees channel o only
    int16_t zero_point;           // of x
    int16_t base;                 // zero point of y
    int16_t low;                  // of the output's codes
    int16_t high;
};

// The values of an adapter; any are safe.
struct spk_delta {
    const void *down;     // (rank or outputs, row_bytes) of signs or int8
    const void *up;       // (rank, outputs) likewise, 0 for one matrix
    const int16_t *gain;  // (rank + 1,) or (outputs,)
    const uint8_t *shift; // likewise
    const int8_t *bias;   // (outputs,)
    const uint32_t *seed; // that the taps are drawn from, 0 where there are all
    const uint8_t *half;  // whether y is of half the resolution, less its zero point; or 0
};

SPK_INLINE int32_t spk_delta_level(bool signs, const void *row, uint32_t i) {
    if (signs) {
        return (((const uint8_t *)row)[i >> 3] >> (i & 7) & 1) ? 1 : -1;
    }
    return ((const int8_t *)row)[i];
}

SPK_INLINE int32_t spk_delta_scaled(const struct spk_delta *d, int32_t sum, uint32_t row) {
    const int32_t right = d->shift[row] < 31 ? d->shift[row] : 31;
    return spk_requantise(sum, (int32_t)d->gain[row] * 65536, -right);
}

// n elements of a row from `tap` on, by codes.
SPK_INLINE int32_t spk_delta_run(bool signs, const void *row, uint32_t tap, const int8_t *at,
                                 uint32_t n, int32_t zero) {
    int32_t sum = 0;
    uint32_t k = 0;
    if (signs && (tap & 7) == 0) {
        for (; k + 8 <= n; k += 8, at += 8) {
            const uint32_t minus = ~(uint32_t)((const uint8_t *)row)[(tap + k) >> 3];
            for (uint32_t i = 0; i < 8; i++) {
                const int32_t mask = (int32_t)(minus << (31 - i)) >> 31;
                sum += ((at[i] - zero) ^ mask) - mask;
            }
        }
    }
    for (; k < n; k++) {
        sum += spk_delta_level(signs, row, tap + k) * (*at++ - zero);
    }
    return sum;
}

// The pixel that tap (i, j) of output (y, x) sees, or 0.
SPK_INLINE const int8_t *spk_delta_pixel(const struct spk_geometry *g, const int8_t *input,
                                         uint32_t y, uint32_t x, uint32_t i, uint32_t j) {
    // Before the image they wrap, and are no less outside.
    const uint32_t in_y = y * g->stride_down + i * g->dilation_down - g->pad_top;
    const uint32_t in_x = x * g->stride_right + j * g->dilation_right - g->pad_left;
    const bool inside = in_y < g->height && in_x < g->width;
    return inside ? input + (in_y * g->width + in_x) * g->channels : 0;
}

// A row of `down` on the window of output (y, x), channels from `first` on.
SPK_INLINE int32_t spk_delta_sum(const struct spk_add_delta *c, bool signs, const int8_t *input,
                                 const void *row, uint32_t y, uint32_t x, uint32_t first) {
    const struct spk_geometry *g = &c->geometry;
    const uint32_t n = c->own ? 1u : g->channels;
    int32_t sum = 0;
    uint32_t tap = 0;
    for (uint32_t i = 0; i < g->kernel_height; i++) {
        for (uint32_t j = 0; j < g->kernel_width; j++) {
            const int8_t *at = spk_delta_pixel(g, input, y, x, i, j);
            if (at != 0) {
                sum += spk_delta_run(signs, row, tap, at + first, n, c->zero_point);
            }
            tap += n;
        }
    }
    return sum;
}

// The same of a row whose taps are drawn.
SPK_INLINE int32_t spk_delta_drawn(const struct spk_add_delta *c, bool signs, const int8_t *input,
                                   const void *row, uint32_t y, uint32_t x, uint32_t *state) {
    const struct spk_geometry *g = &c->geometry;
    const uint32_t taps = (uint32_t)g->kernel_height * g->kernel_width * g->channels;
    int32_t sum = 0;
    for (uint32_t k = 0; k < c->kept; k++) {
        *state = spk_xorshift32(*state);
        const uint32_t tap = (*state >> 16) * taps >> 16; // taps < 2^16
        const uint32_t place = tap / g->channels;
        const int8_t *at =
            spk_delta_pixel(g, input, y, x, place / g->kernel_width, place % g->kernel_width);
        if (at != 0) {
            sum += spk_delta_level(signs, row, k) * (at[tap % g->channels] - c->zero_point);
        }
    }
    return sum;
}

// What the outputs of pixel (y, x) get of one matrix.
SPK_INLINE int32_t spk_delta_whole(const struct spk_add_delta *c, bool signs, const int8_t *input,
                                   const struct spk_delta *d, uint32_t y, uint32_t x, uint32_t o,
                                   uint32_t *state) {
    const uint8_t *row = (const uint8_t *)d->down + o * c->row_bytes;
    const int32_t sum = d->seed != 0 ? spk_delta_drawn(c, signs, input, row, y, x, state)
                                     : spk_delta_sum(c, signs, input, row, y, x, c->own ? o : 0);
    return spk_clamp(spk_delta_scaled(d, sum, o), -SPK_MOST_WHOLE, SPK_MOST_WHOLE);
}

// What output o gets of the middle (rank,).
SPK_INLINE int32_t spk_delta_up(const struct spk_add_delta *c, bool signs,
                                const struct spk_delta *d, const int32_t *middle, uint32_t o) {
    const uint32_t outputs = c->geometry.outputs;
    const uint32_t bytes = signs ? (outputs + 7) / 8 : outputs;
    const uint8_t *row = d->up;
    int32_t sum = 0;
    for (uint32_t r = 0; r < c->rank; r++, row += bytes) {
        sum += spk_delta_level(signs, row, o) * middle[r];
    }
    return spk_delta_scaled(d, sum, c->rank);
}

// base (out_height, out_width, outputs) may be the output, unless it is the input, too;
// middle (rank,).
SPK_INLINE void spk_add_delta(const struct spk_add_delta *c, bool signs, const int8_t *base,
                              const int8_t *input, const struct spk_delta *d, int32_t *middle,
                              int8_t *output) {
    const struct spk_geometry *g = &c->geometry;
    const bool halved = d->half != 0 && d->half[0] != 0;
    for (uint32_t pixel = 0; pixel < (uint32_t)g->out_height * g->out_width; pixel++) {
        const uint32_t y = pixel / g->out_width;
        const uint32_t x = pixel % g->out_width;
        uint32_t state = d->seed != 0 ? *d->seed : 0;
        for (uint32_t r = 0; r < c->rank; r++) {
            const uint8_t *row = (const uint8_t *)d->down + r * c->row_bytes;
            const int32_t sum = spk_delta_sum(c, signs, input, row, y, x, 0);
            middle[r] = spk_clamp(spk_delta_scaled(d, sum, r), -SPK_MOST_MIDDLE, SPK_MOST_MIDDLE);
        }
        for (uint32_t o = 0; o < g->outputs; o++) {
            const int32_t delta = c->rank > 0
                                      ? spk_delta_up(c, signs, d, middle, o)
                                      : spk_delta_whole(c, signs, input, d, y, x, o, &state);
            const int32_t code = halved ? 2 * *base + c->base : *base;
            *output++ = (int8_t)spk_clamp(code + delta + d->bias[o], c->low, c->high);
            base++;
        }
    }
}

// Arrays as spk_delta has them.
#define SPK_ADD_DELTA(name, signs, type)                                                           \
    SPK_SHARED void spk_add_delta_##name(                                                          \
        const struct spk_add_delta *c, const int8_t *base, const int8_t *input, const type *down,  \
        const type *up, const int16_t *gain, const uint8_t *shift, const int8_t *bias,             \
        const uint32_t *seed, const uint8_t *half, uint32_t *scratch, int8_t *output) {            \
        const struct spk_delta d = {down, up, gain, shift, bias, seed, half};                      \
        spk_add_delta(c, signs, base, input, &d, (int32_t *)scratch, output);                      \
    }

SPK_ADD_DELTA(signs, true, uint8_t)
SPK_ADD_DELTA(s8, false, int8_t)

#endif
