// What a model has learned, as bytes that its caller keeps: a tag, then each learned tensor.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_STATE_H
#define SPK_STATE_H

#include "spk_admit.h"

static inline void spk_copy_bytes(uint8_t *to, const uint8_t *from, uint32_t size) {
    for (uint32_t i = 0; i < size; i++) {
        to[i] = from[i];
    }
}

// learned (rows,), tag (tag_bytes,), state (tag_bytes and all tensors' bytes,).
static inline void spk_save_state(const struct spk_tensor *learned, uint32_t rows,
                                  const uint8_t *tag, uint32_t tag_bytes, uint8_t *state) {
    spk_copy_bytes(state, tag, tag_bytes);
    state += tag_bytes;
    for (uint32_t i = 0; i < rows; i++) {
        spk_copy_bytes(state, (const uint8_t *)learned[i].data, learned[i].bytes);
        state += learned[i].bytes;
    }
}

// Answers 1, or 0 and takes nothing over where the tag differs or a tensor may not hold a value.
static inline int spk_restore_state(const struct spk_tensor *learned, uint32_t rows,
                                    const uint8_t *tag, uint32_t tag_bytes, const uint8_t *state) {
    const uint8_t *at = state + tag_bytes;

    for (uint32_t i = 0; i < tag_bytes; i++) {
        if (state[i] != tag[i]) {
            return 0;
        }
    }
    for (uint32_t i = 0; i < rows; i++) {
        if (spk_admitted(&learned[i], 0, at, learned[i].bytes) != learned[i].bytes) {
            return 0;
        }
        at += learned[i].bytes;
    }
    at = state + tag_bytes;
    for (uint32_t i = 0; i < rows; i++) {
        spk_copy_bytes((uint8_t *)learned[i].data, at, learned[i].bytes);
        at += learned[i].bytes;
    }
    return 1;
}

#endif
