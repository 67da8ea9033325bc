// Open-set rejection. Golden twin: pytools/spikelet/learn/learners/rejection.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_REJECTION_H
#define SPK_REJECTION_H

#include "learn/fixed.h"

enum { SPK_REJECT_MEMORY = 32, SPK_REJECT_WIDEST = 64 << 16, SPK_REJECT_ONE = 1 << 16 };

// log2 of a class's distance, or of its ratio to the least of the others, Q16.
SPK_INLINE int32_t spk_octaves(const int32_t *distances, uint32_t classes, uint32_t of,
                               bool ratio) {
    const int32_t own = spk_log2((int64_t)distances[of] + 1);
    if (!ratio) {
        return own;
    }
    int32_t least = INT32_MAX;
    for (uint32_t c = 0; c < classes; c++) {
        if (c != of && distances[c] < least) {
            least = distances[c];
        }
    }
    return own - spk_log2((int64_t)least + 1);
}

SPK_INLINE int64_t spk_deviations(int32_t deviation, int32_t spread) {
    return spk_shift_round64((int64_t)deviation * spread, 16);
}

// distances, mean, deviation, seen: (classes,); spread, novelty, unknown: (1,).
SPK_INLINE void spk_reject(const int32_t *distances, const int32_t *mean, const int32_t *deviation,
                           const int32_t *seen, const int32_t *spread, int32_t *novelty,
                           int32_t *unknown, uint32_t classes, bool ratio) {
    uint32_t best = 0;
    for (uint32_t c = 1; c < classes; c++) {
        if (distances[c] < distances[best]) {
            best = c;
        }
    }
    const int64_t limit = mean[best] + spk_deviations(deviation[best], *spread);
    *novelty = spk_sat32(spk_octaves(distances, classes, best, ratio) - limit);
    *unknown = *novelty > 0 || seen[best] == 0;
}

// As spk_reject; label: (1,); count: (classes,).
SPK_INLINE void spk_reject_learn(const int32_t *distances, int32_t *mean, int32_t *deviation,
                                 int32_t *seen, int32_t *spread, const int32_t *label,
                                 const int32_t *count, uint32_t classes, bool ratio, int32_t up,
                                 int32_t down) {
    const uint32_t y = (uint32_t)*label;
    if (count[y] <= 0) {
        return;
    }
    const int32_t v = spk_octaves(distances, classes, y, ratio);
    const int32_t apart = v - mean[y];
    if (seen[y] >= 2) {
        const bool above = apart > spk_deviations(deviation[y], *spread);
        const int32_t moved = *spread + (above ? up : -down);
        *spread = moved < 0 ? 0 : moved > SPK_REJECT_WIDEST ? SPK_REJECT_WIDEST : moved;
    }
    const int32_t n = seen[y] + 1 < SPK_REJECT_MEMORY ? seen[y] + 1 : SPK_REJECT_MEMORY;
    seen[y] = n;
    if (n == 1) {
        mean[y] = v;
        deviation[y] = SPK_REJECT_ONE;
        return;
    }
    mean[y] += spk_divide(apart, n);
    deviation[y] += spk_divide((apart < 0 ? -apart : apart) - deviation[y], n);
}

#endif
