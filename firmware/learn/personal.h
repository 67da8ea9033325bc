// Choice between two experts. Golden twin: pytools/spikelet/learn/learners/personal.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_PERSONAL_H
#define SPK_PERSONAL_H

#include "learn/feature.h"

// logits: (2,) generic, user; user: (1,) 1 where the second is larger.
SPK_INLINE void spk_personal_gate(const int16_t *logits, int32_t *user) {
    *user = logits[1] > logits[0];
}

// user: (1,); local: (classes,) int16; global: (classes,) of `type`; scores: (classes,) those of
// the expert that was executed.
SPK_INLINE void spk_personal_select(uint32_t classes, const int32_t *user, const int16_t *local,
                                    const void *global, enum spk_dtype type, int32_t *scores) {
    for (uint32_t i = 0; i < classes; i++) {
        scores[i] = *user != 0 ? local[i] : spk_feature(global, i, type);
    }
}

// exemplars: (count, n) bytes; exemplar: (n,) one of them; user, generic: (1,) labels of the gate.
SPK_INLINE void spk_personal_exemplar(const void *exemplars, uint32_t count, uint32_t n,
                                      uint32_t *random, void *exemplar, int32_t *user,
                                      int32_t *generic) {
    *random = spk_xorshift32(*random);
    const uint8_t *from = (const uint8_t *)exemplars + ((*random >> 16) * count >> 16) * n;
    uint8_t *to = exemplar;
    for (uint32_t i = 0; i < n; i++) {
        to[i] = from[i];
    }
    *user = 1;
    *generic = 0;
}

#endif
