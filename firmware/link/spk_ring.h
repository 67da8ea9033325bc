// What has been received and not yet read: a ring with one writer and one reader. The writer is the
// board's receive interrupt, or the link itself on a board that is polled; the reader is the link.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_RING_H
#define SPK_RING_H

#include <stdint.h>

#ifndef SPK_LINK_RING
#define SPK_LINK_RING 512 // bytes, a power of two, at least 256
#endif

struct spk_ring {
    volatile uint16_t head; // bytes ever put in: the writer's
    volatile uint16_t tail; // bytes ever taken out: the reader's
    uint8_t bytes[SPK_LINK_RING];
};

extern struct spk_ring spk_link_ring;

static inline uint32_t spk_ring_used(void) {
    return (uint16_t)(spk_link_ring.head - spk_link_ring.tail);
}

static inline uint32_t spk_ring_free(void) {
    return SPK_LINK_RING - spk_ring_used();
}

// Answers 0 where there is no room: the byte is lost. Inline, because an interrupt that runs while
// flash cannot be read calls nothing that lies there.
static inline int spk_ring_put(uint8_t byte) {
    const uint16_t head = spk_link_ring.head;

    if ((uint16_t)(head - spk_link_ring.tail) >= SPK_LINK_RING) {
        return 0;
    }
    spk_link_ring.bytes[head & (SPK_LINK_RING - 1)] = byte;
    __asm__ volatile("" ::: "memory"); // the byte first, then that it is there
    spk_link_ring.head = (uint16_t)(head + 1);
    return 1;
}

// The ring holds a byte.
static inline uint8_t spk_ring_take(void) {
    const uint16_t tail = spk_link_ring.tail;
    const uint8_t byte = spk_link_ring.bytes[tail & (SPK_LINK_RING - 1)];

    __asm__ volatile("" ::: "memory");
    spk_link_ring.tail = (uint16_t)(tail + 1);
    return byte;
}

#endif
