// The four functions that a C compiler may call on its own, for targets that have no C library.
// SPDX-License-Identifier: Apache-2.0
#if !__STDC_HOSTED__

#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);
int memcmp(const void *a, const void *b, size_t size);

typedef uint32_t __attribute__((may_alias)) word;

// An empty statement that the compiler must keep: without it the loops below would be recognised
// and become calls of the very functions they are in.
#define KEEP_LOOP() __asm__ volatile("")

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    uint8_t *out = to;
    const uint8_t *in = from;

    if ((((uintptr_t)out | (uintptr_t)in) & 3) == 0) {
        for (; size >= 4; size -= 4, out += 4, in += 4) {
            *(word *)(void *)out = *(const word *)(const void *)in;
            KEEP_LOOP();
        }
    }
    while (size--) {
        *out++ = *in++;
        KEEP_LOOP();
    }
    return to;
}

void *memmove(void *to, const void *from, size_t size) {
    uint8_t *out = to;
    const uint8_t *in = from;

    if ((uintptr_t)out <= (uintptr_t)in) {
        while (size--) {
            *out++ = *in++;
            KEEP_LOOP();
        }
    } else {
        while (size--) {
            out[size] = in[size];
            KEEP_LOOP();
        }
    }
    return to;
}

void *memset(void *to, int value, size_t size) {
    uint8_t *out = to;
    const uint32_t all = (uint8_t)value * 0x01010101u;

    while (size && ((uintptr_t)out & 3)) {
        *out++ = (uint8_t)all;
        size--;
        KEEP_LOOP();
    }
    for (; size >= 4; size -= 4, out += 4) {
        *(word *)(void *)out = all;
        KEEP_LOOP();
    }
    while (size--) {
        *out++ = (uint8_t)all;
        KEEP_LOOP();
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t size) {
    const uint8_t *p = a;
    const uint8_t *q = b;

    for (; size--; p++, q++) {
        if (*p != *q) {
            return *p - *q;
        }
        KEEP_LOOP();
    }
    return 0;
}

#else
typedef int spk_libc_is_for_freestanding_targets; // a file may not be empty
#endif
