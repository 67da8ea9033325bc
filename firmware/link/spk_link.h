// The device's side of the link: deframer, go-back-N, dispatch. It trusts no byte;
// what a payload means is spk_link_serve's to check. SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LINK_H
#define SPK_LINK_H

#include "spk_frame.h"
#include "spk_messages.h"
#include "spk_ring.h"

// Requests whose outcome is remembered: no more are under way. A power of two.
#ifndef SPK_LINK_WINDOW
#define SPK_LINK_WINDOW (SPK_LINK_RING >= 2048 ? 16 : 8)
#endif

// Whole replies that are kept for a host that asks again: as many requests that are done once may
// be under way.
#ifndef SPK_LINK_KEPT
#define SPK_LINK_KEPT (SPK_LINK_RING >= 2048 ? 4 : 1)
#endif

// Bytes handed to the board at a time; between them the ring takes what has arrived. A board whose
// UART is polled sets it to the depth of the receive FIFO.
#ifndef SPK_LINK_TX_CHUNK
#define SPK_LINK_TX_CHUNK SPK_FRAME_WIRE
#endif

struct spk_request {
    uint8_t type;        // enum spk_type, or anything
    uint32_t size;       // bytes in data
    const uint8_t *data; // the payload
};

// A handler writes what follows the status, at most SPK_LINK_PAYLOAD - 1 bytes in all, and moves
// `at` behind it. When it answers another status than OK only `detail` is sent.
struct spk_reply {
    uint8_t *at;
    uint32_t detail;
    uint8_t more; // 1: ask again from the next offset
};

struct spk_link_counts {
    uint32_t good; // frames that passed the CRC, since boot
    uint32_t bad;  // pieces between delimiters that did not, and frames that were no request
};

void spk_link_init(void);

// Takes what has arrived and serves at most one frame. Answers 0 when there was nothing to do.
int spk_link_poll(void);

// Sends text to the host in LOG frames. May be called from anywhere but an interrupt.
void spk_log(const char *text);

// Tells the host that the request which is being served writes flash: it sends nothing until the
// reply.
void spk_link_working(void);

const struct spk_link_counts *spk_link_counts(void);

// Given by the agent: does one request, once.
enum spk_status spk_link_serve(const struct spk_request *request, struct spk_reply *reply);

#endif
