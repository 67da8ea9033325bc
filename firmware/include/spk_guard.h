// Sanitised host builds: an operator sees its own tensors and nothing else of the arena.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_GUARD_H
#define SPK_GUARD_H

#include <sanitizer/asan_interface.h>
#include <stdint.h>

enum { SPK_UNWRITTEN = 0xA5 };

// Nothing of [memory, memory + size) may be touched.
static inline void spk_guard(void *memory, uint32_t size) {
    ASAN_POISON_MEMORY_REGION(memory, size);
}

// It may be read and written.
static inline void spk_open(void *memory, uint32_t size) {
    ASAN_UNPOISON_MEMORY_REGION(memory, size);
}

// Nobody has written it yet: what reads it gets other values than golden.
static inline void spk_unwritten(void *memory, uint32_t size) {
    volatile uint8_t *byte = memory;

    for (uint32_t i = 0; i < size; i++) {
        byte[i] = SPK_UNWRITTEN;
    }
}

#endif
