// Leaves out updates that would teach nothing. Golden twin:
// pytools/spikelet/learn/learners/sample_gate.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_SAMPLE_GATE_H
#define SPK_SAMPLE_GATE_H

#include "learn/scalar.h"

// error: (n,), magnitudes are added in order; count: (2,) samples left out, samples; skip: (1,).
SPK_INLINE void spk_sample_gate(uint32_t n, const spk_value *error, spk_sum threshold,
                                int32_t *count, int32_t *skip) {
    spk_sum total = 0;
    for (uint32_t i = 0; i < n; i++) {
        total += error[i] < 0 ? -error[i] : error[i];
    }
    *skip = total < threshold;
    count[0] += *skip != 0 && count[0] < INT32_MAX;
    count[1] += count[1] < INT32_MAX;
}

#endif
