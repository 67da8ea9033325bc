// Runs the vectors of vectors.h, and says whether every byte is what Spikelet's golden model gives.
// SPDX-License-Identifier: Apache-2.0
#include "$name.h"
#include "vectors.h"

#include <stdio.h>
#include <string.h>

#ifdef ${NAME}_ARENA_CALLER
static uint32_t buffer[${NAME}_ARENA_BYTES / 4];
#elif defined(${NAME}_ARENA)
uint32_t ${NAME}_ARENA[${NAME}_ARENA_BYTES / 4];
#endif

static int initialise(void) {
#ifdef ${NAME}_ARENA_CALLER
    return ${name}_init_in(buffer, sizeof buffer);
#else
    return ${name}_init();
#endif
}

static unsigned long compared, wrong;

static void compare(const void *found, const uint8_t *expected, size_t size) {
    const uint8_t *bytes = (const uint8_t *)found;

    for (size_t i = 0; i < size; i++) {
        wrong += bytes[i] != expected[i];
    }
    compared += (unsigned long)size;
}
$learning
int main(void) {
    int status = initialise();

    for (int i = 0; i < SAMPLES && status == ${NAME}_OK; i++) {
$samples    }
$ending    if (status != ${NAME}_OK) {
        printf("$name: error %d\n", status);
        return 2;
    }
    printf("$name: %d samples, %lu of %lu bytes are wrong\n", SAMPLES, wrong, compared);
    return wrong != 0;
}
