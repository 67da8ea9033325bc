// Frames on the wire: 00 | COBS(header 4 | payload 0..SPK_LINK_PAYLOAD | CRC-32) | 00.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_FRAME_H
#define SPK_FRAME_H

#include <stdint.h>

#ifndef SPK_LINK_PAYLOAD
#define SPK_LINK_PAYLOAD 244 // bytes; with it a frame is one COBS block
#endif

enum {
    SPK_FRAME_HEADER = 4, // type, seq, ack, credit
    SPK_FRAME_CRC = 4,
    SPK_FRAME_MAX = SPK_FRAME_HEADER + SPK_LINK_PAYLOAD + SPK_FRAME_CRC,
    // Bytes of room in front of the plain frame that sealing in place needs: 00 and the COBS codes.
    SPK_FRAME_ROOM = 2 + SPK_FRAME_MAX / 254,
    SPK_FRAME_WIRE = SPK_FRAME_ROOM + SPK_FRAME_MAX + 1,
};

enum { SPK_FRAME_NONE = -1, SPK_FRAME_BAD = -2 };

struct spk_deframer {
    uint8_t frame[SPK_FRAME_MAX]; // header, payload, CRC; not last, where sanitizers check no index
    uint16_t size;                // bytes in frame
    uint8_t left;                 // bytes to come in the COBS block
    uint8_t state;                // bits of spk_frame.c
};

// CRC-32/ISO-HDLC, as zlib's crc32(): start with 0, pass the result on to continue.
uint32_t spk_crc32(uint32_t crc, const void *data, uint32_t size);

// Takes one byte from the wire. Answers the payload's length (>= 0) when it ends a good frame,
// which stays in in->frame until the next call; SPK_FRAME_BAD when it ends anything else; else
// SPK_FRAME_NONE.
int32_t spk_frame_take(struct spk_deframer *in, uint8_t byte);

// Seals a frame in place. wire has room for SPK_FRAME_ROOM + size + 5 bytes; the plain header and
// payload (size bytes in all) stand at wire + SPK_FRAME_ROOM. Answers the bytes to send from wire
// on.
uint32_t spk_frame_seal(uint8_t *wire, uint32_t size);

static inline uint32_t spk_load16(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static inline uint32_t spk_load32(const uint8_t *p) {
    return spk_load16(p) | spk_load16(p + 2) << 16;
}

// Stores the low `size` bytes of value, little endian; answers the byte after them.
uint8_t *spk_store(uint8_t *p, uint32_t value, uint32_t size);

#endif
