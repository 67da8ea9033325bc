// The inner loops of fully_connected_tables.h and conv2d_tables.h for Arm cores with the small
// instruction set (Cortex-M0, M23), whose loads reach no far: the table's address moves on.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_TABLES_THUMB1_H
#define SPK_TABLES_THUMB1_H

#include <stdint.h>

// Adds the entry of `bytes` bytes in 16 that four bits of the word choose: five instructions.
#define SPK_THUMB1_ENTRY(shift, load, bytes)                                                       \
    shift "ands %[t], %[t], %[mask]\n" load " %[t], [%[table], %[t]]\n"                            \
          "adds %[table], #16*" bytes "\n"                                                         \
          "adds %[sum], %[sum], %[t]\n"

// The same of two sums; bytes: 8.
#define SPK_THUMB1_PAIR(shift, load, bytes)                                                        \
    shift "ands %[t], %[t], %[mask]\n"                                                             \
          "adds %[t], %[t], %[table]\n"                                                            \
          "ldr %[b], [%[t], #4]\n"                                                                 \
          "ldr %[t], [%[t]]\n"                                                                     \
          "adds %[table], #16*" bytes "\n"                                                         \
          "adds %[sum], %[sum], %[t]\n"                                                            \
          "adds %[second], %[second], %[b]\n"

#define SPK_THUMB1_LEFT(n) "lsls %[t], %[word], #" n "\n"
#define SPK_THUMB1_RIGHT(n) "lsrs %[t], %[word], #" n "\n"

// All eight of a word. log: of `bytes`.
#define SPK_THUMB1_WORD(one, load, bytes, log)                                                     \
    ".syntax unified\n" one(SPK_THUMB1_LEFT(log), load, bytes)                                     \
        one(SPK_THUMB1_RIGHT("4-" log), load, bytes) one(SPK_THUMB1_RIGHT("8-" log), load, bytes)  \
            one(SPK_THUMB1_RIGHT("12-" log), load, bytes)                                          \
                one(SPK_THUMB1_RIGHT("16-" log), load, bytes)                                      \
                    one(SPK_THUMB1_RIGHT("20-" log), load, bytes)                                  \
                        one(SPK_THUMB1_RIGHT("24-" log), load, bytes)                              \
                            one(SPK_THUMB1_RIGHT("28-" log), load, bytes)

// sum, and what a word of weights chooses. table: (8, 16).
static inline int32_t spk_tables_sum_thumb1(int32_t sum, uint32_t word, const int16_t *table) {
    uint32_t t;
    const uint32_t mask = 30; // the number of an entry, in bytes
    __asm__(SPK_THUMB1_WORD(SPK_THUMB1_ENTRY, "ldrsh", "2", "1")
            : [table] "+l"(table), [sum] "+l"(sum), [t] "=&l"(t)
            : [mask] "l"(mask), [word] "l"(word)
            : "cc", "memory");
    return sum;
}

// Adds to one word of sums what a word of weights chooses. table: (8, 16).
static inline void spk_tables_add_thumb1(uint32_t word, const uint32_t *table, uint32_t *to) {
    uint32_t t;
    uint32_t sum = *to;
    const uint32_t mask = 60;
    __asm__(SPK_THUMB1_WORD(SPK_THUMB1_ENTRY, "ldr", "4", "2")
            : [table] "+l"(table), [sum] "+l"(sum), [t] "=&l"(t)
            : [mask] "l"(mask), [word] "l"(word)
            : "cc", "memory");
    *to = sum;
}

// The same of two words. table: (8, 16, 2).
static inline void spk_tables_add_two_thumb1(uint32_t word, const uint32_t *table, uint32_t *to) {
    uint32_t t, b;
    uint32_t sum = to[0];
    uint32_t second = to[1];
    const uint32_t mask = 120;
    __asm__(
        SPK_THUMB1_WORD(SPK_THUMB1_PAIR, "", "8", "3")
        : [table] "+l"(table), [sum] "+l"(sum), [second] "+l"(second), [t] "=&l"(t), [b] "=&l"(b)
        : [mask] "l"(mask), [word] "l"(word)
        : "cc", "memory");
    to[0] = sum;
    to[1] = second;
}

#endif
