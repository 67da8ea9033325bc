// Reads the vectors that the Python tests read: every good plain text seals to its wire, every good
// wire gives its plain text back, whole and after garbage, and no bad wire gives anything.
//   test_frame VECTORS    answers 0 and prints the counts
// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spk_frame.h"

enum { BYTES_MAX = 4096 };

static struct spk_deframer in;
static int failures;

static uint32_t from_hex(const char *text, uint8_t *bytes) {
    uint32_t n = 0;
    unsigned value;

    while (n < BYTES_MAX && sscanf(text + 2 * n, "%2x", &value) == 1) {
        bytes[n++] = (uint8_t)value;
    }
    return n;
}

static void fail(int line, const char *what) {
    fprintf(stderr, "vectors line %d: %s\n", line, what);
    failures++;
}

// The last thing that the deframer said of these bytes other than NONE.
static int32_t take(const uint8_t *wire, uint32_t size) {
    int32_t said = SPK_FRAME_NONE;

    for (uint32_t i = 0; i < size; i++) {
        const int32_t got = spk_frame_take(&in, wire[i]);
        if (got != SPK_FRAME_NONE) {
            said = got;
        }
    }
    return said;
}

static void check_good(int line, const uint8_t *plain, uint32_t plain_size, const uint8_t *wire,
                       uint32_t wire_size) {
    uint8_t *sealed = malloc(SPK_FRAME_ROOM + plain_size + 5); // exact, for the sanitizers

    memcpy(sealed + SPK_FRAME_ROOM, plain, plain_size);
    const uint32_t size = spk_frame_seal(sealed, plain_size);
    if (size != wire_size || memcmp(sealed, wire, size) != 0) {
        fail(line, "the plain frame seals to other bytes");
    }
    free(sealed);
    for (uint32_t garbage = 0; garbage < 3; garbage++) {
        static const uint8_t noise[2] = {0x55, 0xFF};
        take(noise, garbage); // the frame's own leading delimiter ends it
        const int32_t got = take(wire, wire_size);
        if (got != (int32_t)plain_size - SPK_FRAME_HEADER ||
            memcmp(in.frame, plain, plain_size) != 0) {
            fail(line, "the wire gives another frame");
        }
    }
}

static void check_crc(void) {
    static const char digits[] = "123456789";

    if (spk_crc32(0, digits, 9) != 0xCBF43926u ||
        spk_crc32(spk_crc32(0, digits, 4), digits + 4, 5) != 0xCBF43926u || spk_crc32(0, "", 0)) {
        fail(0, "CRC-32 of 123456789 is not CBF43926");
    }
}

int main(int argc, char **argv) {
    static char text[4 * BYTES_MAX];
    static char kind[8], plain_text[4 * BYTES_MAX], wire_text[4 * BYTES_MAX];
    static uint8_t plain[BYTES_MAX], wire[BYTES_MAX];
    int line = 0, good = 0, bad = 0;
    FILE *file = argc > 1 ? fopen(argv[1], "r") : NULL;

    if (!file) {
        fprintf(stderr, "usage: test_frame VECTORS\n");
        return 2;
    }
    check_crc();
    while (fgets(text, sizeof text, file)) {
        line++;
        if (sscanf(text, "%7s %16383s %16383s", kind, plain_text, wire_text) != 3) {
            fail(line, "is not KIND PLAIN WIRE");
            continue;
        }
        const uint32_t wire_size = from_hex(wire_text, wire);
        if (strcmp(kind, "good") != 0) {
            bad++;
            if (take(wire, wire_size) >= 0) {
                fail(line, "a bad wire gave a frame");
            }
            continue;
        }
        const uint32_t plain_size = from_hex(plain_text, plain);
        if (plain_size + SPK_FRAME_CRC > SPK_FRAME_MAX) {
            bad++;
            if (take(wire, wire_size) != SPK_FRAME_BAD) {
                fail(line, "an overlong frame was not refused");
            }
        } else {
            good++;
            check_good(line, plain, plain_size, wire, wire_size);
        }
    }
    fclose(file);
    printf("good %d bad %d failures %d\n", good, bad, failures);
    return failures || good == 0 || bad == 0;
}
