// Feature translation. Golden twin: pytools/spikelet/learn/learners/fetril.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_FETRIL_H
#define SPK_FETRIL_H

#include "learn/feature.h"
#include "learn/fixed.h"

enum { SPK_FETRIL_FRACTION = 4, SPK_FETRIL_SUM = 1 << 30 };

struct spk_fetril_collect {
    uint8_t type; // enum spk_dtype: of the features
    uint32_t n;
    int32_t rows;  // places
    int32_t limit; // samples of a class, and of a task
};

struct spk_fetril_commit {
    uint8_t type; // enum spk_dtype: of the rows
    uint32_t n;
    uint32_t classes;
    uint32_t epochs;
    uint32_t margin; // log2 of the least score
    int32_t limit;   // of a weight
    int32_t step;    // of a bias
};

// What is learned, in the order of the commit's inputs.
struct spk_fetril_learned {
    const int32_t *count; // (classes,)
    const int32_t *sum;   // (classes, n)
    const void *rows;     // (places, n) of the features' type
    const uint8_t *of;    // (places,), their classes
    int32_t *kept;
    int32_t *seen;
    uint32_t *random;
    int32_t *health; // skipped samples, saturations
    int16_t *weight; // (classes, n)
    int32_t *bias;   // (classes,)
    int32_t *known;  // (classes,)
};

// Of 0 to n - 1.
SPK_INLINE uint32_t spk_draw_below(uint32_t *random, uint32_t n) {
    *random = spk_xorshift32(*random);
    return (uint32_t)(((uint64_t)*random * n) >> 32);
}

// features: (n,); the others as in spk_fetril_learned.
SPK_INLINE void spk_fetril_collect(const struct spk_fetril_collect *c, const void *features,
                                   const int32_t *label, int32_t *count, int32_t *sum, void *rows,
                                   uint8_t *of, int32_t *kept, int32_t *seen, uint32_t *random,
                                   int32_t *health) {
    const uint32_t y = (uint32_t)*label;
    if (count[y] >= c->limit || *seen >= c->limit) {
        health[0] = spk_add_sat(health[0], 1);
        return;
    }
    count[y]++;
    sum += y * c->n;
    for (uint32_t i = 0; i < c->n; i++) {
        sum[i] = spk_add(sum[i], spk_feature(features, i, c->type));
    }
    ++*seen;
    uint32_t at = (uint32_t)*kept;
    if (*kept < c->rows) {
        ++*kept;
    } else {
        at = spk_draw_below(random, (uint32_t)*seen);
    }
    if (at >= (uint32_t)c->rows) {
        return;
    }
    const uint32_t size = c->type == SPK_I16 ? 2 : c->type == SPK_I32 ? 4 : 1;
    uint8_t *to = (uint8_t *)rows + at * c->n * size;
    const uint8_t *from = features;
    for (uint32_t i = 0; i < c->n * size; i++) {
        to[i] = from[i];
    }
    of[at] = (uint8_t)y;
}

// mean: (classes, n) with fraction bits; centre: (n,), the mean of those of classes with samples.
SPK_INLINE void spk_fetril_means(const struct spk_fetril_commit *c,
                                 const struct spk_fetril_learned *l, int16_t *mean,
                                 int16_t *centre) {
    int32_t known = 0;
    for (uint32_t k = 0; k < c->classes; k++) {
        known += l->count[k] > 0;
    }
    for (uint32_t i = 0; i < c->n; i++) {
        int32_t total = 0;
        for (uint32_t k = 0; k < c->classes; k++) {
            const uint32_t at = k * c->n + i;
            mean[at] =
                l->count[k] <= 0
                    ? 0
                    : spk_sat16(spk_mean(l->sum[at], (uint32_t)l->count[k], SPK_FETRIL_FRACTION));
            total += mean[at];
        }
        centre[i] =
            (int16_t)(spk_mean(total, known > 0 ? (uint32_t)known : 1, 0) >> SPK_FETRIL_FRACTION);
    }
}

// The class with rows whose mean is nearest to that of class k.
SPK_INLINE uint32_t spk_fetril_source(const struct spk_fetril_commit *c,
                                      const struct spk_fetril_learned *l, const int16_t *mean,
                                      const int16_t *has, uint32_t k) {
    uint32_t best = 0;
    int64_t least = INT64_MAX;
    for (uint32_t other = 0; other < c->classes; other++) {
        if (!has[other] || l->count[other] <= 0) {
            continue;
        }
        int64_t square = 0;
        for (uint32_t i = 0; i < c->n; i++) {
            const int64_t apart = (int32_t)mean[k * c->n + i] - mean[other * c->n + i];
            square += apart * apart;
        }
        if (square < least) {
            least = square;
            best = other;
        }
    }
    return best;
}

// One translated feature f (n,) of class y, for every class that there is.
SPK_INLINE void spk_fetril_train(const struct spk_fetril_commit *c,
                                 const struct spk_fetril_learned *l, const int16_t *f, uint32_t y,
                                 uint32_t shift) {
    for (uint32_t k = 0; k < c->classes; k++) {
        int16_t *weight = l->weight + k * c->n;
        if (l->count[k] <= 0) {
            continue;
        }
        int32_t score = l->bias[k];
        for (uint32_t i = 0; i < c->n; i++) {
            score = spk_add(score, (int32_t)weight[i] * f[i]);
        }
        if (k == y ? score >= 1 << c->margin : score <= -(1 << c->margin)) {
            continue;
        }
        for (uint32_t i = 0; i < c->n; i++) {
            const int32_t change = f[i] >> shift;
            const int32_t moved = k == y ? weight[i] + change : weight[i] - change;
            const bool far = moved > c->limit || moved < -c->limit;
            weight[i] = (int16_t)(!far ? moved : moved < 0 ? -c->limit : c->limit);
            l->health[1] = spk_add_sat(l->health[1], far);
        }
        const int32_t change = c->step >> shift;
        const int32_t bias = l->bias[k] + (k == y ? change : -change);
        l->bias[k] = bias > SPK_FETRIL_SUM    ? SPK_FETRIL_SUM
                     : bias < -SPK_FETRIL_SUM ? -SPK_FETRIL_SUM
                                              : bias;
    }
}

// A drawn row, moved to each class of which its class is the source.
SPK_INLINE void spk_fetril_row(const struct spk_fetril_commit *c,
                               const struct spk_fetril_learned *l, const int16_t *mean,
                               const int16_t *centre, const int16_t *source, int16_t *f,
                               uint32_t shift) {
    const uint32_t row = spk_draw_below(l->random, (uint32_t)*l->kept);
    const uint32_t of = l->of[row];
    for (uint32_t k = 0; k < c->classes; k++) {
        if (l->count[k] <= 0 || (uint32_t)source[k] != of) {
            continue;
        }
        for (uint32_t i = 0; i < c->n; i++) {
            const int32_t move = (int32_t)mean[k * c->n + i] - mean[of * c->n + i];
            f[i] = (int16_t)(spk_feature(l->rows, row * c->n + i, c->type) - centre[i] +
                             spk_shift_round(move, SPK_FETRIL_FRACTION));
        }
        spk_fetril_train(c, l, f, k, shift);
    }
}

// work: (classes + 2) * n + 2 * classes half-words.
SPK_INLINE void spk_fetril_commit(const struct spk_fetril_commit *c,
                                  const struct spk_fetril_learned *l, int16_t *work) {
    int16_t *const mean = work;
    int16_t *const centre = mean + c->classes * c->n;
    int16_t *const f = centre + c->n;
    int16_t *const has = f + c->n;
    int16_t *const source = has + c->classes;
    if (*l->kept <= 0) {
        return;
    }
    spk_fetril_means(c, l, mean, centre);
    for (uint32_t k = 0; k < c->classes; k++) {
        has[k] = 0;
        l->bias[k] = 0;
    }
    for (int32_t row = 0; row < *l->kept; row++) {
        has[l->of[row]] = 1;
    }
    for (uint32_t k = 0; k < c->classes; k++) {
        source[k] = l->count[k] <= 0 ? 0 : (int16_t)spk_fetril_source(c, l, mean, has, k);
    }
    spk_clear(l->weight, c->classes * c->n * 2);
    for (uint32_t epoch = 0; epoch < c->epochs; epoch++) {
        const uint32_t shift = epoch * 3 / c->epochs;
        for (int32_t row = 0; row < *l->kept; row++) {
            spk_fetril_row(c, l, mean, centre, source, f, shift);
        }
    }
    for (uint32_t k = 0; k < c->classes; k++) {
        int64_t bias = l->bias[k];
        for (uint32_t i = 0; i < c->n; i++) {
            bias -= (int32_t)l->weight[k * c->n + i] * centre[i];
        }
        l->bias[k] = bias > SPK_FETRIL_SUM    ? SPK_FETRIL_SUM
                     : bias < -SPK_FETRIL_SUM ? -SPK_FETRIL_SUM
                                              : (int32_t)bias;
        l->known[k] = l->count[k];
    }
    *l->kept = 0;
    *l->seen = 0;
}

#endif
