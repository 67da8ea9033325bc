// SPDX-License-Identifier: Apache-2.0
#include "spk_frame.h"

enum {
    STARTED = 1,  // a COBS code has been seen since the last 00
    OVERLONG = 2, // more bytes than a frame may have
    FULL = 4,     // the block is of 254 bytes: no zero follows it
};

// What zlib's CRC-32 gives over any message followed by its own CRC.
#define CRC_RESIDUE 0x2144DF1Cu

// One nibble at a time: 64 bytes of table where a byte at a time takes 1 KB.
static const uint32_t crc_table[16] = {
    0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
    0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C, 0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C,
};

uint32_t spk_crc32(uint32_t crc, const void *data, uint32_t size) {
    const uint8_t *p = data;

    crc = ~crc;
    while (size--) {
        crc ^= *p++;
        crc = crc >> 4 ^ crc_table[crc & 15];
        crc = crc >> 4 ^ crc_table[crc & 15];
    }
    return ~crc;
}

uint8_t *spk_store(uint8_t *p, uint32_t value, uint32_t size) {
    while (size--) {
        *p++ = (uint8_t)value;
        value >>= 8;
    }
    return p;
}

static void append(struct spk_deframer *in, uint8_t byte) {
    if (in->size < SPK_FRAME_MAX) {
        in->frame[in->size++] = byte;
    } else {
        in->state |= OVERLONG;
    }
}

static int32_t finish(struct spk_deframer *in) {
    const uint32_t size = in->size;
    const uint8_t state = in->state;
    const uint8_t left = in->left;

    in->size = 0;
    in->state = 0;
    in->left = 0;
    if (state == 0) {
        return SPK_FRAME_NONE; // two delimiters in a row
    }
    if ((state & OVERLONG) || left || size < SPK_FRAME_HEADER + SPK_FRAME_CRC ||
        spk_crc32(0, in->frame, size) != CRC_RESIDUE) {
        return SPK_FRAME_BAD;
    }
    return (int32_t)(size - SPK_FRAME_HEADER - SPK_FRAME_CRC);
}

int32_t spk_frame_take(struct spk_deframer *in, uint8_t byte) {
    if (byte == 0) {
        return finish(in);
    }
    if (in->left) {
        append(in, byte);
        in->left--;
        return SPK_FRAME_NONE;
    }
    // A block begins; the zero that the last one stood for comes before it.
    if ((in->state & (STARTED | FULL)) == STARTED) {
        append(in, 0);
    }
    in->left = (uint8_t)(byte - 1);
    in->state = (uint8_t)((in->state & OVERLONG) | STARTED | (byte == 255 ? FULL : 0));
    return SPK_FRAME_NONE;
}

uint32_t spk_frame_seal(uint8_t *wire, uint32_t size) {
    uint8_t *plain = wire + SPK_FRAME_ROOM;
    uint8_t *const end = spk_store(plain + size, spk_crc32(0, plain, size), SPK_FRAME_CRC);
    uint8_t *code = wire + 1;
    uint8_t *out = wire + 2; // never overtakes plain: SPK_FRAME_ROOM counts every code

    wire[0] = 0;
    while (plain < end) {
        const uint8_t byte = *plain++;
        if (byte) {
            *out++ = byte;
        }
        if (byte == 0 || (out - code == 255 && plain < end)) {
            *code = (uint8_t)(out - code);
            code = out++;
        }
    }
    *code = (uint8_t)(out - code);
    *out++ = 0;
    return (uint32_t)(out - wire);
}
