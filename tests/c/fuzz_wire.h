// Frames as a host makes and reads them: not the code under test.
// SPDX-License-Identifier: Apache-2.0
#ifndef FUZZ_WIRE_H
#define FUZZ_WIRE_H

// Goes on from `crc`; by a table that is made bit by bit: not the code under test.
static uint32_t crc_on(uint32_t crc, const uint8_t *data, uint32_t size) {
    static uint32_t table[256];

    for (uint32_t byte = table[1] ? 256 : 0; byte < 256; byte++) {
        uint32_t of = byte;
        for (int bit = 0; bit < 8; bit++) {
            of = of >> 1 ^ (of & 1 ? 0xEDB88320u : 0);
        }
        table[byte] = of;
    }
    crc = ~crc;
    for (uint32_t i = 0; i < size; i++) {
        crc = crc >> 8 ^ table[(crc ^ data[i]) & 255];
    }
    return ~crc;
}

static uint32_t crc_of(const uint8_t *data, uint32_t size) {
    return crc_on(0, data, size);
}

static uint32_t cobs_encode(const uint8_t *data, uint32_t size, uint8_t *out) {
    uint32_t code = 0, n = 1;
    for (uint32_t i = 0; i < size; i++) {
        if (data[i]) {
            out[n++] = data[i];
        }
        if (!data[i] || (n - code == 255 && i + 1 < size)) {
            out[code] = (uint8_t)(n - code);
            code = n++;
        }
    }
    out[code] = (uint8_t)(n - code);
    return n;
}

// Answers the plain bytes, or -1 when the piece is no COBS.
static int cobs_decode(const uint8_t *piece, uint32_t size, uint8_t *out) {
    int n = 0;
    for (uint32_t i = 0; i < size;) {
        const uint32_t code = piece[i++];
        if (code == 0 || i + code - 1 > size) {
            return -1;
        }
        memcpy(out + n, piece + i, code - 1);
        n += (int)code - 1;
        i += code - 1;
        if (code < 255 && i < size) {
            out[n++] = 0;
        }
    }
    return n;
}

#endif
