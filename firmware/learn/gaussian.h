// Gaussian classes with one covariance. Golden twin: pytools/spikelet/learn/bases/gaussian.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_GAUSSIAN_H
#define SPK_GAUSSIAN_H

#include "learn/feature.h"
#include "learn/fixed.h"
#include "learn/prototypes.h"

enum {
    SPK_GAUSS_FAR = 1 << 25,   // more than any mean
    SPK_GAUSS_MEAN = 14,       // fraction bits of a mean
    SPK_GAUSS_UNIT = 32767,    // 1.0 of the factor
    SPK_GAUSS_PIVOT = 1 << 10, // the least diagonal element of the factor
    SPK_GAUSS_WHITE = 16,      // fraction bits of whitened features
    SPK_GAUSS_COUNT = 1 << 18, // samples have fewer
    SPK_GAUSS_BIAS = 1 << 30,  // the largest bias
    SPK_GAUSS_DISTANCE = 8,    // fraction bits of a distance
};

struct spk_gaussian {
    uint8_t type; // enum spk_dtype: of the features
    uint32_t n;   // features
    uint32_t classes;
    int32_t limit;    // samples in all
    int32_t prior;    // samples that independence of the features is worth
    uint32_t refresh; // solved again when there are samples / 2^refresh more
};

// What is learned; (a triangle) is n * (n + 1) / 2 elements, row by row.
struct spk_gaussian_learned {
    int32_t *count;    // (classes,)
    int32_t *sum;      // (classes, n)
    int32_t *moment;   // (a triangle), sums of products
    int16_t *weight;   // (classes, n), units of 2^(exponent - 16)
    int32_t *bias;     // (classes,), of the same units
    int32_t *exponent; // (1,), 0 to 17
    int32_t *centre;   // (n,) Q14, mean of all samples
    int32_t *inverse;  // (n,) Q30, 1 / standard deviation
    int16_t *factor;   // (a triangle) Q15
    int32_t *due;      // (1,), samples at which it is solved again
    int32_t *health;   // skipped samples, values clipped in the last solution
};

// Scratch of `spk_gaussian_solve`.
struct spk_gaussian_work {
    int32_t *mean;       // (classes, n) Q14, then the solutions
    int32_t *reciprocal; // (n,) Q30 of 1 / sqrt of a variance scaled to 2^28 to 2^30
    int32_t *half;       // (n,), the scaling is by 4^-half
};

SPK_INLINE uint32_t spk_triangle(uint32_t row) {
    return row * (row + 1) / 2;
}

SPK_INLINE int64_t spk_clip64(int64_t v, int64_t most) {
    return v > most ? most : v < -most ? -most : v;
}

// v / 2^n rounded, or, for n < 0, v * 2^-n.
SPK_INLINE int64_t spk_scale64(int64_t v, int32_t n) {
    return n >= 0 ? spk_shift_round64(v, (uint32_t)n) : (int64_t)((uint64_t)v << (uint32_t)-n);
}

// Covariance (times samples) of features i >= j within the classes, Q14.
SPK_INLINE int64_t spk_within(const struct spk_gaussian *c, const struct spk_gaussian_learned *l,
                              const int32_t *mean, uint32_t i, uint32_t j) {
    int64_t within = (int64_t)l->moment[spk_triangle(i) + j] * (1 << SPK_GAUSS_MEAN);
    const int32_t *sum = l->sum + i;
    mean += j;
    for (uint32_t k = 0; k < c->classes; k++, sum += c->n, mean += c->n) {
        within -= (int64_t)*sum * *mean;
    }
    return spk_clip64(within, (int64_t)1 << 48);
}

// x Q14 less the mean, in standard deviations, Q16.
SPK_INLINE int32_t spk_standard(int64_t x, int32_t centre, int32_t inverse) {
    return spk_sat32(
        spk_shift_round64((x - centre) * inverse, 30 + SPK_GAUSS_MEAN - SPK_GAUSS_WHITE));
}

// rest / pivot by a reciprocal Q15, rest in units of 2^-15 of the result.
SPK_INLINE int32_t spk_pivoted(int64_t rest, int32_t reciprocal, int32_t *clipped) {
    const int64_t wide =
        spk_shift_round64((int64_t)spk_sat32(spk_shift_round64(rest, 15)) * reciprocal, 15);
    const int32_t found = spk_sat32(wide);
    *clipped = spk_add_sat(*clipped, found != wide);
    return found;
}

// A pivot that no host wrote: the reciprocal is Q15.
SPK_INLINE int32_t spk_pivot_reciprocal(int16_t pivot) {
    return (1 << 30) / (pivot < SPK_GAUSS_PIVOT ? SPK_GAUSS_PIVOT : pivot);
}

// x (n,) Q16 becomes y of (factor) y = x.
SPK_SHARED void spk_whiten(const int16_t *factor, uint32_t n, int32_t *x, int32_t *clipped) {
    for (uint32_t i = 0; i < n; i++) {
        int64_t rest = (int64_t)x[i] * (1 << 15);
        for (uint32_t k = 0; k < i; k++) {
            rest -= (int64_t)factor[k] * x[k];
        }
        x[i] = spk_pivoted(rest, spk_pivot_reciprocal(factor[i]), clipped);
        factor += i + 1;
    }
}

// y (n,) Q16 becomes z of (factor') z = y.
SPK_SHARED void spk_back_substitute(const int16_t *factor, uint32_t n, int32_t *y,
                                    int32_t *clipped) {
    for (uint32_t i = n; i-- > 0;) {
        int64_t rest = (int64_t)y[i] * (1 << 15);
        for (uint32_t k = i + 1; k < n; k++) {
            rest -= (int64_t)factor[spk_triangle(k) + i] * y[k];
        }
        y[i] = spk_pivoted(rest, spk_pivot_reciprocal(factor[spk_triangle(i) + i]), clipped);
    }
}

// Row i of the factor.
SPK_INLINE void spk_factor_row(const struct spk_gaussian *c, const struct spk_gaussian_learned *l,
                               const struct spk_gaussian_work *w, uint32_t i, int32_t keep,
                               int32_t *clipped) {
    int16_t *row = l->factor + spk_triangle(i);
    for (uint32_t j = 0; j <= i; j++) {
        const int16_t *other = l->factor + spk_triangle(j);
        int64_t rest = SPK_GAUSS_UNIT * SPK_GAUSS_UNIT;
        if (j < i) {
            const int64_t one = (int64_t)1 << 30;
            int64_t r = spk_within(c, l, w->mean, i, j);
            r = spk_clip64(spk_scale64(r, w->half[i] + w->half[j]), one);
            r = spk_clip64(spk_shift_round64(r * w->reciprocal[i], 15), 2 * one);
            r = spk_clip64(spk_shift_round64(r * w->reciprocal[j], 15), one);
            rest = spk_shift_round64(r * keep, 15);
        }
        uint32_t k = 0;
        for (; k + 2 <= j; k += 2) { // two products of at most 32767 fit a word
            rest -= (int32_t)row[k] * other[k] + (int32_t)row[k + 1] * other[k + 1];
        }
        if (k < j) {
            rest -= (int32_t)row[k] * other[k];
        }
        if (j < i) {
            const int32_t element = spk_divide(spk_sat32(rest), other[j]);
            const bool far = element > SPK_GAUSS_UNIT || element < -SPK_GAUSS_UNIT;
            *clipped = spk_add_sat(*clipped, far);
            row[j] = (int16_t)(far ? (element < 0 ? -SPK_GAUSS_UNIT : SPK_GAUSS_UNIT) : element);
        } else {
            const int64_t most = SPK_GAUSS_UNIT * SPK_GAUSS_UNIT;
            const uint32_t pivot = spk_isqrt(rest < 0 ? 0 : rest > most ? most : rest);
            *clipped = spk_add_sat(*clipped, pivot < SPK_GAUSS_PIVOT);
            row[j] = (int16_t)(pivot < SPK_GAUSS_PIVOT ? SPK_GAUSS_PIVOT : pivot);
        }
    }
}

// Means and the centre, then each feature's scaling and inverse deviation.
SPK_INLINE void spk_gaussian_scales(const struct spk_gaussian *c,
                                    const struct spk_gaussian_learned *l,
                                    const struct spk_gaussian_work *w, int32_t samples) {
    const int32_t weighed = samples + c->prior;
    const uint32_t root = spk_isqrt((int64_t)weighed << 28);
    const int32_t most = SPK_GAUSS_COUNT - 1;
    for (uint32_t i = 0; i < c->n; i++) {
        int64_t total = 0;
        for (uint32_t k = 0; k < c->classes; k++) {
            const int32_t sum = l->sum[k * c->n + i];
            const int32_t count = l->count[k];
            total += sum;
            int32_t mean = 0;
            if (count > 0) {
                mean = spk_mean(sum, (uint32_t)(count < most ? count : most), SPK_GAUSS_MEAN);
            }
            w->mean[k * c->n + i] = (int32_t)spk_clip64(mean, SPK_GAUSS_FAR);
        }
        const int32_t n = samples < 1 ? 1 : samples < most ? samples : most;
        l->centre[i] = spk_mean(spk_sat32(total), (uint32_t)n, SPK_GAUSS_MEAN);
    }
    for (uint32_t i = 0; i < c->n; i++) {
        const int64_t within = spk_within(c, l, w->mean, i, i);
        const int64_t variance =
            (within < 0 ? 0 : within) + (int64_t)weighed * (1 << SPK_GAUSS_MEAN);
        const int32_t half = ((int32_t)spk_bit_length64(variance) - 29) >> 1;
        const uint32_t scaled = spk_isqrt(spk_scale64(variance, 2 * half) * 4);
        w->half[i] = half;
        w->reciprocal[i] = (int32_t)((1u << 31) / scaled);
        const int64_t inverse = (int64_t)root * w->reciprocal[i];
        const int64_t rounded = spk_shift_round64(inverse, (uint32_t)(half + 7));
        l->inverse[i] = rounded > 1 << 30 ? 1 << 30 : (int32_t)rounded;
    }
}

// The largest magnitude of the solutions, one for each class, in place of the means.
SPK_INLINE uint32_t spk_gaussian_solutions(const struct spk_gaussian *c,
                                           const struct spk_gaussian_learned *l,
                                           const struct spk_gaussian_work *w, int32_t *clipped) {
    uint32_t largest = 0;
    for (uint32_t k = 0; k < c->classes; k++) {
        int32_t *x = w->mean + k * c->n;
        for (uint32_t i = 0; i < c->n; i++) {
            x[i] = l->count[k] <= 0 ? 0 : spk_standard(x[i], l->centre[i], l->inverse[i]);
        }
        spk_whiten(l->factor, c->n, x, clipped);
        spk_back_substitute(l->factor, c->n, x, clipped);
        for (uint32_t i = 0; i < c->n; i++) {
            x[i] = (int32_t)spk_shift_round64((int64_t)x[i] * l->inverse[i], 30);
            const uint32_t size = x[i] < 0 ? 0u - (uint32_t)x[i] : (uint32_t)x[i];
            largest = size > largest ? size : largest;
        }
    }
    return largest;
}

// work: (classes + 2) * n words.
SPK_SHARED void spk_gaussian_solve(const struct spk_gaussian *config,
                                   const struct spk_gaussian_learned *learned, int32_t *work) {
    // Copies, which no store can reach: they need not be loaded again.
    const struct spk_gaussian here = *config;
    const struct spk_gaussian *const c = &here;
    const struct spk_gaussian_learned there = *learned;
    const struct spk_gaussian_learned *const l = &there;
    const struct spk_gaussian_work w = {work, work + c->classes * c->n,
                                        work + (c->classes + 1) * c->n};
    int32_t samples = 0;
    for (uint32_t k = 0; k < c->classes; k++) {
        samples = spk_add_sat(samples, l->count[k]);
    }
    samples = samples < SPK_GAUSS_COUNT ? samples : SPK_GAUSS_COUNT - 1;
    l->health[1] = 0;
    spk_gaussian_scales(c, l, &w, samples);
    const int32_t most = (1 << 15) - (1 << 9);
    int32_t keep = (samples << 13) / (samples + c->prior) * 4;
    keep = keep < most ? keep : most;
    for (uint32_t i = 0; i < c->n; i++) {
        spk_factor_row(c, l, &w, i, keep, &l->health[1]);
    }
    const uint32_t bits = spk_bit_length(spk_gaussian_solutions(c, l, &w, &l->health[1]));
    const uint32_t exponent = bits > 15 ? bits - 15 : 0;
    *l->exponent = (int32_t)exponent;
    for (uint32_t k = 0; k < c->classes; k++) {
        int64_t offset = 0;
        const int32_t count = l->count[k] < SPK_GAUSS_COUNT ? l->count[k] : SPK_GAUSS_COUNT - 1;
        for (uint32_t i = 0; i < c->n; i++) {
            const int32_t u = w.mean[k * c->n + i];
            const int32_t weight = count <= 0 ? 0 : spk_sat16(spk_shift_round(u, exponent));
            int32_t mean = 0;
            if (count > 0) {
                mean = spk_mean(l->sum[k * c->n + i], (uint32_t)count, SPK_GAUSS_MEAN);
                mean = (int32_t)spk_clip64(mean, SPK_GAUSS_FAR);
            }
            l->weight[k * c->n + i] = (int16_t)weight;
            offset += ((int64_t)mean + l->centre[i]) * weight;
        }
        l->bias[k] =
            (int32_t)spk_clip64(-spk_shift_round64(offset, SPK_GAUSS_MEAN + 1), SPK_GAUSS_BIAS);
    }
    *l->due = samples + (samples >> c->refresh) + 1;
}

// features: (n,) of a type. Solves where that is due: there are enough new samples, or twice as
// many of this class.
SPK_INLINE void spk_gaussian_learn(const struct spk_gaussian *c,
                                   const struct spk_gaussian_learned *l, const void *features,
                                   const int32_t *label, int32_t *work) {
    const uint32_t y = (uint32_t)*label;
    int32_t samples = 0;
    for (uint32_t k = 0; k < c->classes; k++) {
        samples = spk_add_sat(samples, l->count[k]);
    }
    if (samples >= c->limit) {
        l->health[0] = spk_add_sat(l->health[0], 1);
        return;
    }
    const int32_t count = ++l->count[y];
    int32_t *sum = l->sum + y * c->n;
    int32_t *moment = l->moment;
    for (uint32_t i = 0; i < c->n; i++) {
        const int32_t f = spk_feature(features, i, c->type);
        sum[i] = spk_add(sum[i], f);
        SPK_UNROLL(4)
        for (uint32_t j = 0; j <= i; j++, moment++) {
            *moment = spk_feature_mac(*moment, f, spk_feature(features, j, c->type));
        }
    }
    if (samples + 1 >= *l->due || (count & (count - 1)) == 0) {
        spk_gaussian_solve(c, l, work);
    }
}

// Squared Mahalanobis distances Q8. features: (n,); scores, distances: (classes,); work: (n,).
SPK_INLINE void spk_mahalanobis(const void *features, enum spk_dtype type, uint32_t n,
                                uint32_t classes, const int32_t *scores, const int32_t *exponent,
                                const int32_t *centre, const int32_t *inverse,
                                const int16_t *factor, int32_t *work, int32_t *distances) {
    int32_t clipped = 0;
    for (uint32_t i = 0; i < n; i++) {
        const int64_t f = (int64_t)spk_feature(features, i, type) * (1 << SPK_GAUSS_MEAN);
        work[i] = spk_standard(f, centre[i], inverse[i]);
    }
    spk_whiten(factor, n, work, &clipped);
    int64_t square = 0;
    for (uint32_t i = 0; i < n; i++) {
        const int32_t y = spk_sat16(spk_shift_round(work[i], SPK_GAUSS_WHITE - 8));
        square += y * y;
    }
    square = spk_shift_round64(square, 16 - SPK_GAUSS_DISTANCE);
    for (uint32_t k = 0; k < classes; k++) {
        const int64_t score =
            spk_scale64(scores[k], SPK_GAUSS_WHITE - SPK_GAUSS_DISTANCE - *exponent);
        distances[k] = scores[k] == INT32_MIN ? INT32_MAX : spk_distance(square, score);
    }
}

#endif
