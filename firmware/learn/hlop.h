// Projection off the subspace of old tasks, learned by lateral Hebbian weights (HLOP). Golden twin:
// pytools/spikelet/learn/learners/hlop.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_HLOP_H
#define SPK_HLOP_H

#include "learn/feature.h"
#include "learn/fixed.h"

#define SPK_HLOP_ONE 4096 // 1.0 of a basis, Q12

// Places in a layer's `columns`.
#define SPK_HLOP_USED 0  // of old tasks: what is projected off
#define SPK_HLOP_BEGUN 1 // of old tasks and the present one

struct spk_hlop {
    uint32_t n;        // presynaptic elements
    uint32_t capacity; // columns of the basis
    int32_t zero;      // the code of x that means 0
    uint32_t shift;    // coordinates are in units of 2^shift, 0 to 12
    int32_t limit;     // and saturate here
};

struct spk_hlop_project {
    struct spk_hlop layer;
    int32_t most; // the trace saturates here
};

struct spk_hlop_learn {
    struct spk_hlop layer;
    uint32_t first; // columns that the first task may take
    uint32_t more;  // columns that each further task may take
    uint32_t step;  // Q15
    uint32_t seed;  // of the signs that columns begin with
    int32_t begin;  // their size
};

SPK_INLINE int32_t spk_hlop_clip(int32_t v, int32_t limit) {
    return v > limit ? limit : v < -limit ? -limit : v;
}

// Coordinates y of x in columns [from, to); basis: (n, capacity).
SPK_INLINE void spk_hlop_coordinates(const struct spk_hlop *c, const void *x, enum spk_dtype type,
                                     const int16_t *basis, uint32_t from, uint32_t to, int32_t *y) {
    for (uint32_t j = from; j < to; j++) {
        y[j] = 0;
    }
    for (uint32_t i = 0; i < c->n; i++, basis += c->capacity) {
        const int32_t v = spk_feature(x, i, type) - c->zero;
        if (v != 0) {
            for (uint32_t j = from; j < to; j++) {
                y[j] += v * basis[j];
            }
        }
    }
    for (uint32_t j = from; j < to; j++) {
        y[j] = spk_hlop_clip(spk_shift_round(y[j], 12 + c->shift), c->limit);
    }
}

// What a row of the basis makes of coordinates.
SPK_INLINE int32_t spk_hlop_back(const struct spk_hlop *c, const int16_t *row, uint32_t from,
                                 uint32_t to, const int32_t *y) {
    int32_t sum = 0;
    for (uint32_t j = from; j < to; j++) {
        sum += row[j] * y[j];
    }
    return spk_shift_round(sum, 12 - c->shift);
}

// trace: (n,) = x without its part in the used columns, but for those that are allowed, (capacity,)
// or 0 for none; y: (capacity,) to work in.
SPK_INLINE void spk_hlop_project(const struct spk_hlop_project *c, const void *x,
                                 enum spk_dtype type, const int16_t *basis, const int32_t *columns,
                                 const uint8_t *allowed, int32_t *y, int16_t *trace) {
    const struct spk_hlop *l = &c->layer;
    const uint32_t used = (uint32_t)columns[SPK_HLOP_USED];
    spk_hlop_coordinates(l, x, type, basis, 0, used, y);
    for (uint32_t j = 0; allowed && j < used; j++) {
        y[j] = allowed[j] ? 0 : y[j];
    }
    for (uint32_t i = 0; i < l->n; i++, basis += l->capacity) {
        const int32_t v = spk_feature(x, i, type) - l->zero;
        trace[i] = (int16_t)spk_hlop_clip(v - spk_hlop_back(l, basis, 0, used, y), c->most);
    }
}

// The columns of a task that begins: small, of random signs. Answers their end.
SPK_INLINE uint32_t spk_hlop_begin(const struct spk_hlop_learn *c, int16_t *basis,
                                   int32_t *columns) {
    const uint32_t used = (uint32_t)columns[SPK_HLOP_USED];
    const uint32_t block = used == 0 ? c->first : c->more;
    const uint32_t end = spk_min_u32(used + block, c->layer.capacity);
    if ((uint32_t)columns[SPK_HLOP_BEGUN] < end) {
        uint32_t random = c->seed;
        for (uint32_t i = 0; i < c->layer.n; i++, basis += c->layer.capacity) {
            for (uint32_t j = used; j < end; j++) {
                random = spk_xorshift32(random);
                basis[j] = (int16_t)((random >> 31) != 0 ? -c->begin : c->begin);
            }
        }
        columns[SPK_HLOP_BEGUN] = (int32_t)end;
    }
    return end;
}

// A Hebbian step of the present task's columns: basis += step * y (trace - basis y)' / |trace|^2.
// rate: Q15, or 0 for 1.0; y: (2 * capacity,) to work in.
SPK_INLINE void spk_hlop_learn(const struct spk_hlop_learn *c, const int16_t *trace,
                               const int32_t *rate, int16_t *basis, int32_t *columns, int32_t *y) {
    const struct spk_hlop *l = &c->layer;
    const uint32_t used = (uint32_t)columns[SPK_HLOP_USED];
    const uint32_t end = spk_hlop_begin(c, basis, columns);
    uint32_t norm = 0;
    for (uint32_t i = 0; i < l->n; i++) {
        norm += (uint32_t)(trace[i] * trace[i]);
    }
    if (norm == 0 || used == end) {
        return;
    }
    // 1 / norm = inverse / 2^(30 + down)
    const uint32_t bits = spk_bit_length(norm);
    const uint32_t down = bits > 15 ? bits - 15 : 0;
    const uint32_t inverse = (1u << 30) / (norm >> down);
    const uint32_t step = rate == 0 ? c->step : (c->step * (uint32_t)*rate) >> 15;
    const int64_t gain = (int64_t)(((uint64_t)step * inverse) >> 15);
    spk_hlop_coordinates(l, trace, SPK_I16, basis, used, end, y);
    int32_t *factor = y + l->capacity;
    for (uint32_t j = used; j < end; j++) {
        // step * y / norm in Q24: Q12 of the basis, and 12 bits for the product with the rest.
        const int64_t scaled = gain * y[j] * (1 << l->shift);
        factor[j] = spk_hlop_clip(spk_sat32(spk_shift_round64(scaled, 6 + down)), 524287);
    }
    for (uint32_t i = 0; i < l->n; i++, basis += l->capacity) {
        const int32_t rest = spk_hlop_clip(trace[i] - spk_hlop_back(l, basis, used, end, y), 4095);
        if (rest != 0) {
            for (uint32_t j = used; j < end; j++) {
                const int32_t moved = basis[j] + spk_shift_round(factor[j] * rest, 12);
                basis[j] = (int16_t)spk_hlop_clip(moved, SPK_HLOP_ONE);
            }
        }
    }
}

// One column of a basis without what others before it hold, of unit length; 0 where nothing is
// left.
SPK_INLINE void spk_hlop_orthonormal(uint32_t n, uint32_t capacity, int16_t *basis, uint32_t j) {
    const uint32_t size = n * capacity;
    for (uint32_t before = 0; before < j; before++) {
        int64_t dot = 0;
        for (uint32_t i = 0; i < size; i += capacity) {
            dot += basis[i + before] * basis[i + j];
        }
        const int32_t part = spk_hlop_clip(spk_sat32(spk_shift_round64(dot, 12)), 1 << 16);
        for (uint32_t i = 0; i < size; i += capacity) {
            const int32_t rest = basis[i + j] - spk_shift_round(part * basis[i + before], 12);
            basis[i + j] = (int16_t)spk_hlop_clip(rest, SPK_HLOP_ONE);
        }
    }
    int64_t square = 0;
    for (uint32_t i = j; i < size; i += capacity) {
        square += basis[i] * basis[i];
    }
    const uint32_t length = spk_isqrt(square);
    for (uint32_t i = j; i < size; i += capacity) {
        const uint32_t value = (uint32_t)(basis[i] < 0 ? -basis[i] : basis[i]);
        const uint32_t unit =
            length < SPK_HLOP_ONE / 8 ? 0 : (value * SPK_HLOP_ONE + length / 2) / length;
        const int32_t whole = (int32_t)spk_min_u32(unit, SPK_HLOP_ONE);
        basis[i] = (int16_t)(basis[i] < 0 ? -whole : whole);
    }
}

// A task ended: its columns are old now, and orthonormal.
SPK_SHARED void spk_hlop_merge(uint32_t n, uint32_t capacity, int16_t *basis, int32_t *columns) {
    for (int32_t j = columns[SPK_HLOP_USED]; j < columns[SPK_HLOP_BEGUN]; j++) {
        spk_hlop_orthonormal(n, capacity, basis, (uint32_t)j);
    }
    columns[SPK_HLOP_USED] = columns[SPK_HLOP_BEGUN];
}

struct spk_cuber {
    struct spk_hlop layer;
    uint32_t outputs;
    uint32_t first; // columns of the first task
    uint32_t more;  // columns of each further task
    uint32_t mean;  // gradients are averaged over about 2^mean samples
    uint32_t fraction;
    int32_t probe;   // samples of a task after which it is compared with old ones
    int64_t squared; // Q15, of the least cosine
};

// Whether the mean gradients of two tasks agree in columns [from, to).
SPK_SHARED bool spk_cuber_agree(const struct spk_cuber *c, const int32_t *now, const int32_t *then,
                                uint32_t from, uint32_t to) {
    int64_t dot = 0;
    int64_t a = 0;
    int64_t b = 0;
    for (uint32_t o = 0; o < c->outputs; o++) {
        for (uint32_t j = from; j < to; j++) {
            const int64_t u = now[o * c->layer.capacity + j] >> 14;
            const int64_t v = then[o * c->layer.capacity + j] >> 14;
            dot += u * v;
            a += u * u;
            b += v * v;
        }
    }
    const uint32_t bits = spk_bit_length64(a > b ? a : b);
    const uint32_t down = bits > 30 ? bits - 30 : 0;
    dot >>= down;
    return dot > 0 && dot * dot >= (((a >> down) * (b >> down)) >> 15) * c->squared;
}

// now, then: (outputs, capacity) mean gradients of this task, and of old ones when they ended, in
// their columns; allowed: (capacity,); y: (capacity,) to work in.
SPK_INLINE void spk_cuber(const struct spk_cuber *c, const int16_t *error, const void *x,
                          enum spk_dtype type, const int16_t *basis, const int32_t *columns,
                          int32_t *now, const int32_t *then, uint8_t *allowed, int32_t *count,
                          int32_t *y) {
    const uint32_t used = (uint32_t)columns[SPK_HLOP_USED];
    const uint32_t begun = (uint32_t)columns[SPK_HLOP_BEGUN];
    spk_hlop_coordinates(&c->layer, x, type, basis, 0, begun, y);
    for (uint32_t o = 0; o < c->outputs; o++) {
        int32_t *row = now + o * c->layer.capacity;
        for (uint32_t j = 0; j < begun; j++) {
            row[j] = spk_ema(row[j], error[o] * y[j] * (1 << c->fraction), c->mean);
        }
    }
    if (*count >= c->probe) {
        return;
    }
    *count += 1;
    if (*count < c->probe) {
        return;
    }
    for (uint32_t from = 0; from < used;) {
        const uint32_t to = spk_min_u32(used, from + (from == 0 ? c->first : c->more));
        const bool agree = spk_cuber_agree(c, now, then, from, to);
        for (uint32_t j = from; j < to; j++) {
            allowed[j] = agree;
        }
        from = to;
    }
}

// A task ended: its gradient in its columns is kept.
SPK_INLINE void spk_cuber_keep(uint32_t outputs, uint32_t capacity, const int32_t *columns,
                               int32_t *now, int32_t *then, uint8_t *allowed, int32_t *count) {
    for (uint32_t o = 0; o < outputs; o++, now += capacity, then += capacity) {
        for (uint32_t j = 0; j < capacity; j++) {
            const int32_t at = (int32_t)j;
            if (at >= columns[SPK_HLOP_USED] && at < columns[SPK_HLOP_BEGUN]) {
                then[j] = now[j];
            }
            now[j] = 0;
        }
    }
    for (uint32_t j = 0; j < capacity; j++) {
        allowed[j] = 0;
    }
    *count = 0;
}

#endif
