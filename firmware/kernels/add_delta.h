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
    int16_t zero_point;           // of x
    int16_t low;                  // of the output's codes
    int16_t high;
};

// The values of an adapter; any are safe.
struct spk_delta {
    const void *down;     // (rank or outputs, row_bytes) of signs or int8
    const void *up;       // (outputs, rank) likewise, NULL for one matrix
    const int16_t *gain;  // (rank + 1,) or (outputs,)
    const uint8_t *shift; // likewise
    const int8_t *bias;   // (outputs,)
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

// One row of `down` on the window of output (y, x).
SPK_INLINE int32_t spk_delta_sum(const struct spk_add_delta *c, bool signs, const int8_t *input,
                                 const void *row, uint32_t y, uint32_t x) {
    const struct spk_geometry *g = &c->geometry;
    int32_t sum = 0;
    uint32_t tap = 0;
    for (uint32_t i = 0; i < g->kernel_height; i++) {
        // Before the image they wrap, and are no less outside.
        const uint32_t in_y = y * g->stride_down + i * g->dilation_down - g->pad_top;
        for (uint32_t j = 0; j < g->kernel_width; j++) {
            const uint32_t in_x = x * g->stride_right + j * g->dilation_right - g->pad_left;
            if (in_y < g->height && in_x < g->width) {
                const int8_t *at = input + (in_y * g->width + in_x) * g->channels;
                for (uint32_t k = 0; k < g->channels; k++) {
                    sum += spk_delta_level(signs, row, tap + k) * (at[k] - c->zero_point);
                }
            }
            tap += g->channels;
        }
    }
    return sum;
}

// base (out_height, out_width, outputs) may be the output; middle (rank,).
SPK_INLINE void spk_add_delta(const struct spk_add_delta *c, bool signs, const int8_t *base,
                              const int8_t *input, const struct spk_delta *d, int32_t *middle,
                              int8_t *output) {
    const struct spk_geometry *g = &c->geometry;
    const uint32_t bytes = c->row_bytes;
    const uint32_t up_bytes = signs ? (c->rank + 7u) / 8 : c->rank;
    for (uint32_t pixel = 0; pixel < (uint32_t)g->out_height * g->out_width; pixel++) {
        const uint32_t y = pixel / g->out_width;
        const uint32_t x = pixel % g->out_width;
        for (uint32_t r = 0; r < c->rank; r++) {
            const uint8_t *row = (const uint8_t *)d->down + r * bytes;
            const int32_t sum = spk_delta_sum(c, signs, input, row, y, x);
            middle[r] = spk_clamp(spk_delta_scaled(d, sum, r), -SPK_MOST_MIDDLE, SPK_MOST_MIDDLE);
        }
        for (uint32_t o = 0; o < g->outputs; o++) {
            int32_t delta = 0;
            if (c->rank > 0) {
                const uint8_t *row = (const uint8_t *)d->up + o * up_bytes;
                for (uint32_t r = 0; r < c->rank; r++) {
                    delta += spk_delta_level(signs, row, r) * middle[r];
                }
                delta = spk_delta_scaled(d, delta, c->rank);
            } else {
                const uint8_t *row = (const uint8_t *)d->down + o * bytes;
                delta = spk_delta_scaled(d, spk_delta_sum(c, signs, input, row, y, x), o);
                delta = spk_clamp(delta, -SPK_MOST_WHOLE, SPK_MOST_WHOLE);
            }
            *output++ = (int8_t)spk_clamp(*base++ + delta + d->bias[o], c->low, c->high);
        }
    }
}

// Arrays as spk_delta has them.
#define SPK_ADD_DELTA(name, signs, type)                                                           \
    SPK_SHARED void spk_add_delta_##name(const struct spk_add_delta *c, const int8_t *base,        \
                                         const int8_t *input, const type *down, const type *up,    \
                                         const int16_t *gain, const uint8_t *shift,                \
                                         const int8_t *bias, uint32_t *scratch, int8_t *output) {  \
        const struct spk_delta d = {down, up, gain, shift, bias};                                  \
        spk_add_delta(c, signs, base, input, &d, (int32_t *)scratch, output);                      \
    }

SPK_ADD_DELTA(signs, true, uint8_t)
SPK_ADD_DELTA(s8, false, int8_t)

#endif
