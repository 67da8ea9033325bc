// The line: another rate, back from it where nobody is heard there, and what went wrong on it.
// SPDX-License-Identifier: Apache-2.0
#include "spk_agent.h"
#include "spk_board.h"
#include "spk_link.h"

#ifndef SPK_BAUD
#define SPK_BAUD 115200 // bits a second, from boot on
#endif
#ifndef SPK_CORE_HZ
#define SPK_CORE_HZ 20000000 // only for how long a second is where ticks are instructions
#endif

static struct {
    uint32_t rate;   // bits a second of the line; 0: SPK_BAUD
    uint32_t wanted; // set once the reply is out; 0 = none
    uint32_t before; // to go back to; 0 = the rate is confirmed
    uint32_t window; // ticks until then
    uint32_t began;
    uint32_t good; // frames when the rate was set
} line;

// Instructions are taken for cycles: they are fewer, and the window no shorter than asked.
static uint32_t ticks_a_ms(void) {
    switch (spk_board_info.tick_unit) {
    case SPK_TICK_NONE:
        return 0;
    case SPK_TICK_US:
        return 1000;
    default:
        return (spk_board_info.tick_hz ? spk_board_info.tick_hz : SPK_CORE_HZ) / 1000;
    }
}

void spk_line_boot(void) {
    line.rate = 0;
    line.wanted = 0;
    line.before = 0;
}

enum spk_status spk_line_baud(const uint8_t *data, struct spk_reply *reply) {
    const uint32_t baud = spk_load32(data + SPK_BAUD_BAUD_AT);
    const uint32_t ms = spk_load16(data + SPK_BAUD_CONFIRM_MS_AT);
    const uint32_t nearest = ticks_a_ms() ? spk_board_nearest_baud(baud) : 0;
    const uint32_t off = nearest > baud ? nearest - baud : baud - nearest;

    reply->detail = nearest;
    if (nearest == 0 || off > baud / 50) {
        return SPK_STATUS_RANGE;
    }
    reply->detail = ms;
    if (ms == 0 || ms > SPK_BAUD_CONFIRM_MS) {
        return SPK_STATUS_RANGE;
    }
    line.wanted = baud;
    line.window = ms * ticks_a_ms();
    spk_put(reply, nearest, 4);
    return SPK_STATUS_OK;
}

enum spk_status spk_line_counts(struct spk_reply *reply) {
    const struct spk_link_counts *counts = spk_link_counts();
    struct spk_board_line wrong;

    spk_board_line(&wrong);
    spk_put(reply, wrong.overruns, 4);
    spk_put(reply, wrong.garbled, 4);
    spk_put(reply, wrong.dropped, 4);
    spk_put(reply, wrong.stuck, 4);
    spk_put(reply, counts->good, 4);
    spk_put(reply, counts->bad, 4);
    return SPK_STATUS_OK;
}

int spk_line_poll(void) {
    if (line.wanted) {
        if (spk_board_set_baud(line.wanted)) {
            line.before = line.rate ? line.rate : SPK_BAUD;
            line.rate = line.wanted;
            line.began = spk_board_ticks();
            line.good = spk_link_counts()->good;
        }
        line.wanted = 0;
    }
    if (line.before == 0) {
        return 0;
    }
    if (spk_link_counts()->good != line.good) {
        line.before = 0;
    } else if (spk_board_ticks() - line.began >= line.window) {
        line.rate = line.before;
        line.before = 0;
        spk_board_set_baud(line.rate);
    }
    return 1;
}
