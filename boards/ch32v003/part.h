// What main.c wants of a part. SPDX-License-Identifier: Apache-2.0
#ifndef PART_H
#define PART_H

#include <stdint.h>

void part_begin(void); // clock and serial line

// The next `bytes` bytes of input. Answers 0 where there are no more, which a part never does.
int part_read(void *to, uint32_t bytes);

void part_write(const void *from, uint32_t bytes);
uint32_t part_ticks(void); // cycles of the core, or instructions

#endif
