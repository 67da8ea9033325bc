// SPDX-License-Identifier: Apache-2.0
#include "spk_link.h"
#include "spk_board.h"

enum {
    PAST = SPK_LINK_WINDOW,
    LOG_BYTES = 40, // text in one LOG frame
    SMALL = SPK_FRAME_ROOM + SPK_FRAME_HEADER + 5 + LOG_BYTES + SPK_FRAME_CRC + 1,
    CREDIT = SPK_LINK_RING / 64 > 255 ? 255 : SPK_LINK_RING / 64,
};

_Static_assert((SPK_LINK_RING & (SPK_LINK_RING - 1)) == 0, "the ring's size is a power of two");
_Static_assert(SPK_LINK_RING >= 256 && SPK_LINK_RING <= 32768, "256 to 32768 bytes of ring");
_Static_assert((PAST & (PAST - 1)) == 0 && PAST >= 8 && PAST <= 64, "8 to 64 outcomes");
_Static_assert(SPK_LINK_KEPT >= 1 && SPK_LINK_KEPT <= PAST, "a reply is kept with its outcome");

// A reply as it was sent.
struct kept {
    uint16_t size; // bytes in wire; 0 = none
    uint8_t seq;   // of its request
    uint8_t wire[SPK_FRAME_WIRE];
};

struct outcome {
    uint32_t detail;
    uint8_t type;
    uint8_t seq;
    uint8_t status;
};

static struct {
    uint32_t nonce;     // of the session; 0 = none
    uint32_t old_nonce; // of the one before: a HELLO with it is a stray copy
    uint8_t next;       // seq of the next request to execute
    uint8_t last_type;  // of the last one executed
    uint8_t oldest;     // of kept
    struct spk_link_counts counts;
    struct outcome past[PAST]; // by seq & (PAST - 1)
    struct spk_deframer in;
    struct kept kept[SPK_LINK_KEPT];
} link;

struct spk_ring spk_link_ring;

const struct spk_link_counts *spk_link_counts(void) {
    return &link.counts;
}

void spk_link_init(void) {
    uint8_t *p = (uint8_t *)&link;

    for (uint32_t i = 0; i < sizeof link; i++) {
        p[i] = 0;
    }
}

// From a board that is polled. One with a receive interrupt has put into the ring what came, and
// answers 0 here.
static void fill(void) {
    for (;;) {
        const uint32_t at = spk_link_ring.head & (SPK_LINK_RING - 1);
        uint32_t room = spk_ring_free();
        if (room > SPK_LINK_RING - at) {
            room = SPK_LINK_RING - at;
        }
        if (room == 0) {
            return;
        }
        const uint32_t got = spk_board_rx(spk_link_ring.bytes + at, room);
        if (got == 0) {
            return;
        }
        spk_link_ring.head = (uint16_t)(spk_link_ring.head + got);
        if (got < room) {
            return;
        }
    }
}

static void send(const uint8_t *wire, uint32_t size) {
    while (size) {
        const uint32_t chunk = size < SPK_LINK_TX_CHUNK ? size : SPK_LINK_TX_CHUNK;
        spk_board_tx(wire, chunk);
        wire += chunk;
        size -= chunk;
        if (size) {
            fill();
        }
    }
}

// Seals and sends the frame whose payload ends at `end`. A credit of 0 says that no session is
// open.
static uint32_t send_frame(uint8_t *wire, uint8_t type, uint8_t seq, const uint8_t *end) {
    uint8_t *plain = wire + SPK_FRAME_ROOM;

    plain[0] = type;
    plain[1] = seq;
    plain[2] = link.next;
    plain[3] = link.nonce ? CREDIT : 0;
    const uint32_t size = spk_frame_seal(wire, (uint32_t)(end - plain));
    send(wire, size);
    return size;
}

// Answers without touching the kept reply: a status, and with it a word where it is not OK.
static void send_small(uint8_t type, uint8_t seq, uint8_t status, uint32_t detail) {
    uint8_t wire[SMALL];
    uint8_t *at = wire + SPK_FRAME_ROOM + SPK_FRAME_HEADER;

    *at++ = status;
    if (status != SPK_STATUS_OK) {
        at = spk_store(at, detail, 4);
    }
    send_frame(wire, type | SPK_TYPE_REPLY, seq, at);
}

void spk_log(const char *text) {
    do {
        uint8_t wire[SMALL];
        uint8_t *at = wire + SPK_FRAME_ROOM + SPK_FRAME_HEADER;
        *at++ = SPK_STATUS_OK;
        at = spk_store(at, spk_board_boot_id(), 4);
        for (uint32_t i = 0; i < LOG_BYTES && *text; i++) {
            *at++ = (uint8_t)*text++;
        }
        send_frame(wire, SPK_TYPE_LOG | SPK_TYPE_REPLY, 0, at);
    } while (*text);
}

void spk_link_working(void) {
    send_small(SPK_TYPE_WORKING, (uint8_t)(link.next - 1), SPK_STATUS_OK, 0);
}

static int is_read(uint8_t type) {
    return type < 32 && (SPK_READ_TYPES >> type & 1);
}

// Replies to these are a status, which is remembered: they cost no other reply its place.
static int is_plain(uint8_t type) {
#ifdef SPK_SIGNED
    if (type == SPK_TYPE_SIGNED_PUT) {
        return 1;
    }
#endif
    return type == SPK_TYPE_TENSOR_PUT || type == SPK_TYPE_EVENTS;
}

// Executes the request in link.in. A reply that is more than a status is kept for a host that asks
// again.
static void serve(const struct spk_request *request, uint8_t seq) {
    struct kept *kept = &link.kept[link.oldest];
    uint8_t *payload = kept->wire + SPK_FRAME_ROOM + SPK_FRAME_HEADER;
    struct spk_reply reply = {.at = payload + 1};
    struct outcome *past = &link.past[seq & (PAST - 1)];
    uint8_t type = request->type | SPK_TYPE_REPLY;
    const uint8_t status = (uint8_t)spk_link_serve(request, &reply);

    *past = (struct outcome){reply.detail, request->type, seq, status};
    if (is_plain(request->type)) {
        send_small(request->type, seq, status, reply.detail);
        return;
    }
    payload[0] = status;
    if (status != SPK_STATUS_OK) {
        reply.at = spk_store(payload + 1, reply.detail, 4);
    } else if (reply.more) {
        type |= SPK_TYPE_MORE;
    }
    link.oldest = (uint8_t)((link.oldest + 1) % SPK_LINK_KEPT);
    kept->seq = seq;
    kept->size = (uint16_t)send_frame(kept->wire, type, seq, reply.at);
}

static const struct kept *find_kept(uint8_t seq) {
    for (uint32_t i = 0; i < SPK_LINK_KEPT; i++) {
        if (link.kept[i].size && link.kept[i].seq == seq) {
            return &link.kept[i];
        }
    }
    return 0;
}

// A request that was executed before: its reply was lost, or the wire made a copy.
static void serve_again(const struct spk_request *request, uint8_t seq) {
    const struct outcome *past = &link.past[seq & (PAST - 1)];
    const struct kept *kept = find_kept(seq);

    if (past->type != request->type || past->seq != seq) {
        link.counts.bad++; // of another session: nobody waits for it
    } else if (is_plain(past->type)) {
        send_small(past->type, seq, past->status, past->detail);
    } else if (kept) {
        send(kept->wire, kept->size);
    } else if (is_read(past->type) && is_read(link.last_type)) {
        serve(request, seq); // the host has all replies but those to reads, which can be had again
    }
}

// Session rules of HELLO. Answers 1 when the request may go on to its turn.
static int open_session(const struct spk_request *request, uint8_t seq) {
    const uint8_t *data = request->data;

    if (request->size < SPK_HELLO_BYTES) {
        send_small(SPK_TYPE_HELLO, seq, SPK_STATUS_BAD_LEN, request->size);
        return 0;
    }
    if (data[SPK_HELLO_PROTO_MIN_AT] > SPK_PROTOCOL ||
        data[SPK_HELLO_PROTO_MAX_AT] < SPK_PROTOCOL) {
        send_small(SPK_TYPE_HELLO, seq, SPK_STATUS_VERSION, SPK_PROTOCOL);
        return 0;
    }
    const uint32_t nonce = spk_load32(data + SPK_HELLO_NONCE_AT);
    if (nonce && nonce == link.nonce) {
        return 1;
    }
    // Only part 0 opens: its reply names the boot, so that a reset cannot hide behind a late part.
    if (nonce == 0 || spk_load16(data + SPK_HELLO_PART_AT)) {
        send_small(SPK_TYPE_HELLO, seq, SPK_STATUS_BAD_STATE, spk_board_boot_id());
        return 0;
    }
    if (nonce == link.old_nonce) {
        link.counts.bad++;
        return 0;
    }
    link.old_nonce = link.nonce;
    link.nonce = nonce;
    link.next = seq;
    for (uint32_t i = 0; i < SPK_LINK_KEPT; i++) {
        link.kept[i].size = 0;
    }
    for (uint32_t i = 0; i < PAST; i++) {
        link.past[i].type = 0;
    }
    return 1;
}

static void take_frame(uint32_t payload) {
    const uint8_t *frame = link.in.frame;
    const struct spk_request request = {frame[0], payload, frame + SPK_FRAME_HEADER};
    const uint8_t seq = frame[1];

    // A reply: the wire is looped back, or two devices face each other. Never answered.
    if (request.type & SPK_TYPE_REPLY) {
        link.counts.bad++;
        return;
    }
    link.counts.good++;
    if (request.type == SPK_TYPE_HELLO) {
        if (!open_session(&request, seq)) {
            return;
        }
    } else if (link.nonce == 0) {
        send_small(request.type, seq, SPK_STATUS_BAD_STATE, spk_board_boot_id());
        return;
    }
    const uint8_t behind = (uint8_t)(link.next - seq);
    if (behind == 0) {
        link.last_type = request.type;
        link.next++;
        serve(&request, seq);
    } else if (behind <= PAST) {
        serve_again(&request, seq);
    } else {
        send_small(SPK_TYPE_ACK, seq, SPK_STATUS_OK, 0);
    }
}

int spk_link_poll(void) {
    fill();
    if (spk_ring_used() == 0) {
        return 0;
    }
    while (spk_ring_used()) {
        const int32_t got = spk_frame_take(&link.in, spk_ring_take());
        if (got >= 0) {
            take_frame((uint32_t)got);
            break;
        }
        if (got == SPK_FRAME_BAD) {
            link.counts.bad++;
        }
    }
    return 1;
}
