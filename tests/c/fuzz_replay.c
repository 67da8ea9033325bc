// Runs a libFuzzer target on files, without libFuzzer: those that are named.
// SPDX-License-Identifier: Apache-2.0
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int count, char **names) {
    static uint8_t held[1 << 16];

    for (int i = 1; i < count; i++) {
        FILE *file = fopen(names[i], "rb");
        if (!file) {
            perror(names[i]);
            return 1;
        }
        const size_t size = fread(held, 1, sizeof held, file);
        fclose(file);
        uint8_t *data = malloc(size ? size : 1); // no more than the input: reads behind it are seen
        for (size_t at = 0; at < size; at++) {
            data[at] = held[at];
        }
        LLVMFuzzerTestOneInput(data, size);
        free(data);
    }
    printf("inputs %d\n", count - 1);
    return 0;
}
