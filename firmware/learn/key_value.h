// Discrete key-value table. Golden twin: pytools/spikelet/learn/learners/key_value.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_KEY_VALUE_H
#define SPK_KEY_VALUE_H

#include "learn/feature.h"
#include "learn/fixed.h"

struct spk_sign_projection {
    const int32_t *offset; // (rows,)
    uint32_t seed;
    uint32_t n; // features
    uint32_t rows;
    uint32_t shift;
};

enum { SPK_SIGNS = 32, SPK_SUBSETS = 8 * 16 }; // features a draw; sums of 8 groups of 4 features

// Sums of +-x over 4 features, (16,), by the signs' bits; features beyond n are 0.
SPK_INLINE void spk_signed_sums(const void *features, enum spk_dtype type, uint32_t first,
                                uint32_t n, int32_t *sums) {
    int32_t twice[4];
    int32_t total = 0;
    for (uint32_t i = 0; i < 4; i++) {
        const int32_t x = first + i < n ? spk_feature(features, first + i, type) : 0;
        twice[i] = spk_add(x, x);
        total = spk_add(total, x);
    }
    sums[0] = (int32_t)(0u - (uint32_t)total);
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t low = 0; low < 1u << i; low++) {
            sums[low + (1u << i)] = spk_add(sums[low], twice[i]);
        }
    }
}

// features: (n,) of `type`; work: (SPK_SUBSETS + rows,) int32 scratch; projected: (rows,) int8.
SPK_INLINE void spk_sign_projection(const struct spk_sign_projection *c, const void *features,
                                    enum spk_dtype type, int32_t *work, int8_t *projected) {
    int32_t *sums = work + SPK_SUBSETS;
    uint32_t random = c->seed;
    for (uint32_t row = 0; row < c->rows; row++) {
        sums[row] = -c->offset[row];
    }
    for (uint32_t base = 0; base < c->n; base += SPK_SIGNS) {
        for (uint32_t group = 0; group < 8; group++) {
            spk_signed_sums(features, type, base + 4 * group, c->n, work + 16 * group);
        }
        for (uint32_t row = 0; row < c->rows; row++) {
            random = spk_xorshift32(random);
            int32_t sum = sums[row];
            SPK_UNROLL(8)
            for (uint32_t group = 0; group < 8; group++) {
                sum = spk_add(sum, work[16 * group + ((random >> (4 * group)) & 15)]);
            }
            sums[row] = sum;
        }
    }
    for (uint32_t row = 0; row < c->rows; row++) {
        projected[row] = spk_sat8(spk_shift_round(sums[row], c->shift));
    }
}

struct spk_nearest_key {
    const int8_t *keys; // (books, count, size)
    uint32_t books;
    uint32_t count; // keys a book, at most 256
    uint32_t size;
};

// queries: (books, size) int8; index: (books,) of the nearest key, the first one wins a tie.
SPK_INLINE void spk_nearest_key(const struct spk_nearest_key *c, const int8_t *queries,
                                uint8_t *index) {
    const int8_t *key = c->keys;
    for (uint32_t book = 0; book < c->books; book++, queries += c->size) {
        int32_t least = INT32_MAX;
        uint32_t best = 0;
        for (uint32_t k = 0; k < c->count; k++, key += c->size) {
            int32_t distance = 0;
            uint32_t i = 0;
            for (; i < c->size / 2; i++) {
                const int32_t d = queries[i] - key[i];
                distance += d * d;
            }
            if (distance >= least) { // farther after half of it?
                continue;
            }
            for (; i < c->size; i++) {
                const int32_t d = queries[i] - key[i];
                distance += d * d;
            }
            if (distance < least) {
                least = distance;
                best = k;
            }
        }
        index[book] = (uint8_t)best;
    }
}

struct spk_key_value {
    const uint16_t *log_count; // (256,) log2(4 count + 1) in Q12
    uint32_t books;
    uint32_t keys;
    uint32_t classes;
};

enum {
    SPK_KEY_VALUE_UNSEEN = -(1 << 30),
    SPK_KEY_VALUE_MOST = 1 << 29,
    SPK_KEY_VALUE_HALVINGS = 24,
};

// index: (books,); counts: (books, keys, classes); totals: (classes,) samples; scores: (classes,).
SPK_INLINE void spk_key_value_scores(const struct spk_key_value *c, const uint8_t *index,
                                     const uint8_t *counts, const int32_t *totals,
                                     int32_t *scores) {
    for (uint32_t y = 0; y < c->classes; y++) {
        const int32_t prior = spk_log2((int64_t)totals[y] * 4 + (int32_t)c->keys) >> 4;
        scores[y] = -(int32_t)c->books * prior;
    }
    for (uint32_t book = 0; book < c->books; book++) {
        const uint8_t *cell = counts + (book * c->keys + index[book]) * c->classes;
        for (uint32_t y = 0; y < c->classes; y++) {
            scores[y] += c->log_count[cell[y]];
        }
    }
    for (uint32_t y = 0; y < c->classes; y++) {
        scores[y] = totals[y] > 0 ? scores[y] : SPK_KEY_VALUE_UNSEEN;
    }
}

// halved: (books, keys) halvings of a column; it takes every 2^halved-th sample of a class.
SPK_INLINE void spk_key_value_count(const struct spk_key_value *c, const uint8_t *index,
                                    const int32_t *label, uint8_t *counts, int32_t *totals,
                                    uint8_t *halved) {
    const uint32_t y = (uint32_t)*label;
    const uint32_t before = (uint32_t)totals[y];
    for (uint32_t book = 0; book < c->books; book++) {
        const uint32_t column = book * c->keys + index[book];
        uint8_t *cell = counts + column * c->classes;
        if ((before & ((1u << halved[column]) - 1)) != 0) {
            continue;
        }
        if (cell[y] == UINT8_MAX) {
            for (uint32_t other = 0; other < c->classes; other++) {
                cell[other] >>= 1;
            }
            const bool more = halved[column] < SPK_KEY_VALUE_HALVINGS;
            halved[column] = (uint8_t)(halved[column] + more);
        }
        cell[y]++;
    }
    totals[y] += before < SPK_KEY_VALUE_MOST;
}

#endif
