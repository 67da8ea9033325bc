// Whether an answer is sure enough. Golden twin: pytools/spikelet/graph/ops/gate.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_GATE_H
#define SPK_GATE_H

#include "kernels/fixed.h"

// *unsure: 1 where the largest of `n` scores leads the second one by less than `lead`, else 0. n: 2
// or more.
#define SPK_GATE(name, type)                                                                       \
    SPK_SHARED void spk_gate_##name(const type *scores, uint32_t n, uint32_t lead,                 \
                                    uint8_t *unsure) {                                             \
        type best = scores[0];                                                                     \
        type second = scores[1];                                                                   \
        if (second > best) {                                                                       \
            best = scores[1];                                                                      \
            second = scores[0];                                                                    \
        }                                                                                          \
        for (uint32_t i = 2; i < n; i++) {                                                         \
            if (scores[i] > best) {                                                                \
                second = best;                                                                     \
                best = scores[i];                                                                  \
            } else if (scores[i] > second) {                                                       \
                second = scores[i];                                                                \
            }                                                                                      \
        }                                                                                          \
        *unsure = (uint32_t)best - (uint32_t)second < lead;                                        \
    }

SPK_GATE(s8, int8_t)
SPK_GATE(s16, int16_t)
SPK_GATE(s32, int32_t)

#endif
