// The layers' scores, together. Golden twin: pytools/spikelet/learn/learners/single_forward.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_SINGLE_FORWARD_H
#define SPK_SINGLE_FORWARD_H

#include "learn/scalar.h"

// sums[i] += scores[i]; `first` begins anew.
SPK_INLINE void spk_add_scores(uint32_t n, const spk_value *scores, bool first, spk_sum *sums) {
    for (uint32_t i = 0; i < n; i++) {
        sums[i] = first ? (spk_sum)scores[i] : sums[i] + scores[i];
    }
}

#endif
