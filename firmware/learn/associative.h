// Binary associative memory. Golden twin: pytools/spikelet/learn/learners/associative.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_ASSOCIATIVE_H
#define SPK_ASSOCIATIVE_H

#include "learn/feature.h"
#include "learn/fixed.h"

// features: (n,) of `type`; threshold: (n,); bits: (n,) packed, 1 above the threshold.
SPK_INLINE void spk_binarise(const void *features, enum spk_dtype type, uint32_t n,
                             const int32_t *threshold, uint32_t *bits) {
    for (uint32_t base = 0; base < n; base += 32) {
        const uint32_t count = spk_min_u32(32, n - base);
        uint32_t word = 0;
        for (uint32_t i = 0; i < count; i++) {
            const bool above = spk_feature(features, base + i, type) > threshold[base + i];
            word |= (uint32_t)above << i;
        }
        bits[base / 32] = word;
    }
}

struct spk_associative {
    uint32_t bits;
    uint32_t words; // of a pattern, padded with 0
    uint32_t rows;  // patterns that there is memory for
    uint32_t beta;  // Q8; exp2
    uint32_t top;   // weight of the nearest pattern, log2; exp2
    uint32_t shift; // of a cube; pow3
    uint32_t classes;
    bool cubic;
};

enum { SPK_NO_PATTERN = INT16_MAX };

// Bits in which a and b, (words,), differ; bytes are counted apart for 31 words at a time.
SPK_INLINE uint32_t spk_associative_differ(const uint32_t *a, const uint32_t *b, uint32_t words) {
    uint32_t total = 0;
    while (words > 0) {
        const uint32_t count = spk_min_u32(words, 31);
        uint32_t bytes = 0;
        SPK_UNROLL(4)
        for (uint32_t i = 0; i < count; i++) {
            uint32_t x = a[i] ^ b[i];
            x -= (x >> 1) & 0x55555555u;
            x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
            bytes += (x + (x >> 4)) & 0x0F0F0F0Fu;
        }
        const uint32_t halves = (bytes & 0x00FF00FFu) + ((bytes >> 8) & 0x00FF00FFu);
        total += (halves + (halves >> 16)) & 0xFFFFu;
        a += count;
        b += count;
        words -= count;
    }
    return total;
}

// cue: (bits,); patterns: (rows, words); used: (1,) rows in use; distances: (rows,) bits that
// differ, SPK_NO_PATTERN of a row not in use.
SPK_INLINE void spk_associative_distances(const struct spk_associative *c, const uint32_t *cue,
                                          const uint32_t *patterns, const int32_t *used,
                                          int16_t *distances) {
    const uint32_t count = (uint32_t)*used;
    const uint32_t padding = c->bits % 32 != 0 ? ~0u << c->bits % 32 : 0; // a host may set it
    for (uint32_t row = 0; row < c->rows; row++) {
        const uint32_t *pattern = patterns + row * c->words;
        uint32_t differ = SPK_NO_PATTERN;
        if (row < count) {
            differ = spk_associative_differ(cue, pattern, c->words);
            differ -= padding != 0 ? spk_bits_set(pattern[c->words - 1] & padding) : 0;
        }
        distances[row] = (int16_t)differ;
    }
}

SPK_INLINE int32_t spk_associative_least(const int16_t *distances, uint32_t count) {
    int32_t least = SPK_NO_PATTERN;
    for (uint32_t row = 0; row < count; row++) {
        least = distances[row] < least ? distances[row] : least;
    }
    return least;
}

SPK_INLINE int32_t spk_associative_weight(const struct spk_associative *c, int32_t distance,
                                          int32_t least) {
    if (c->cubic) {
        const int32_t overlap = (int32_t)c->bits - 2 * distance;
        return spk_shift_round(overlap * overlap * overlap, c->shift);
    }
    const uint32_t down = (c->beta * 2 * (uint32_t)(distance - least) + 128) >> 8;
    return down > c->top ? 0 : (int32_t)(1u << (c->top - down));
}

// Adds to sums (32,) the weights of the set bits: four words of patterns at a time.
SPK_INLINE void spk_associative_add(const uint32_t *word, const int32_t *subset, uint32_t *sums) {
    const uint32_t mask = 0x11111111u;
    for (uint32_t k = 0; k < 4; k++) {
        // Bits k, k + 4, ... 28 + k of the four, as eight nibbles.
        uint32_t nibbles = ((word[0] >> k) & mask) | ((word[1] >> k) & mask) << 1 |
                           ((word[2] >> k) & mask) << 2 | ((word[3] >> k) & mask) << 3;
        SPK_UNROLL(8)
        for (uint32_t i = k; i < 32; i += 4) {
            sums[i] += (uint32_t)subset[nibbles & 15];
            nibbles >>= 4;
        }
    }
}

// sums: (32 words,) weighted votes of the patterns, scratch; recall: (bits,), 1 where the votes
// are 0 or more.
SPK_INLINE void spk_associative_recall(const struct spk_associative *c, const int16_t *distances,
                                       const uint32_t *patterns, const int32_t *used,
                                       uint32_t *sums, uint32_t *recall) {
    const uint32_t count = (uint32_t)*used;
    const int32_t least = spk_associative_least(distances, count);
    uint32_t total = 0;
    spk_clear(sums, c->words * 128);
    for (uint32_t row = 0; row < count; row += 4) {
        const uint32_t *words[4];
        uint32_t weights[4];
        uint32_t any = 0;
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t at = row + i < count ? row + i : row;
            const int32_t weight = spk_associative_weight(c, distances[at], least);
            weights[i] = at == row + i ? (uint32_t)weight : 0;
            words[i] = patterns + at * c->words;
            any |= weights[i];
        }
        if (any == 0) {
            continue;
        }
        int32_t subset[16] = {0}; // twice the weights of the patterns by their bits
        for (uint32_t i = 0; i < 4; i++) {
            total += weights[i];
            for (uint32_t low = 0; low < 1u << i; low++) {
                subset[low + (1u << i)] = (int32_t)((uint32_t)subset[low] + 2 * weights[i]);
            }
        }
        for (uint32_t w = 0; w < c->words; w++) {
            const uint32_t word[4] = {words[0][w], words[1][w], words[2][w], words[3][w]};
            spk_associative_add(word, subset, sums + 32 * w);
        }
    }
    for (uint32_t base = 0; base < c->bits; base += 32) {
        const uint32_t n = spk_min_u32(32, c->bits - base);
        uint32_t word = 0;
        for (uint32_t i = 0; i < n; i++) {
            // At most 2^30 from 0, whatever the sums on the way there were.
            word |= ((sums[base + i] - total) >> 31 ^ 1u) << i;
        }
        recall[base / 32] = word;
    }
}

// labels: (rows,); scores: (classes,) sums of the weights of each class's patterns.
SPK_INLINE void spk_associative_scores(const struct spk_associative *c, const int16_t *distances,
                                       const uint8_t *labels, const int32_t *used,
                                       int32_t *scores) {
    const uint32_t count = (uint32_t)*used;
    const int32_t least = spk_associative_least(distances, count);
    spk_clear(scores, 4 * c->classes);
    for (uint32_t row = 0; row < count; row++) {
        scores[labels[row]] += spk_associative_weight(c, distances[row], least);
    }
}

// Appends the cue; health: (1,) cues that found no free row. With `oldest`, they take the oldest.
// label and labels are NULL where there are no classes.
SPK_INLINE void spk_associative_write(const struct spk_associative *c, bool oldest,
                                      const uint32_t *cue, const int32_t *label, uint32_t *patterns,
                                      uint8_t *labels, int32_t *used, int32_t *next,
                                      int32_t *health) {
    const uint32_t row = (uint32_t)*next;
    if ((uint32_t)*used == c->rows) {
        *health += *health < INT32_MAX;
        if (!oldest) {
            return;
        }
    } else {
        ++*used;
    }
    for (uint32_t i = 0; i < c->words; i++) {
        patterns[row * c->words + i] = cue[i];
    }
    if (labels) {
        labels[row] = (uint8_t)*label;
    }
    *next = row + 1 < c->rows ? (int32_t)row + 1 : 0;
}

#endif
