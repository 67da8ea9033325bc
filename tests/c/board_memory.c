// A board for the link's tests that lives in the test's own process: bytes come and go by calls.
// Received bytes enter the ring as an interrupt puts them there.
// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <string.h>

#include "spk_agent.h"
#include "spk_board.h"
#include "spk_ring.h"

enum { OUT = 1 << 16 };

const struct spk_board_info spk_board_info = {"native", SPK_TICK_US, 1000000};

static jmp_buf at_reset;
static uint8_t sent[OUT];
static uint32_t sent_bytes, boots, lost, now_us;
static uint32_t rate; // bits a second; 0 = that of the boot
static struct spk_board_line wrong;

void memory_boot(void);
uint32_t memory_feed(const uint8_t *data, uint32_t size);
int memory_poll(void);
uint32_t memory_take(uint8_t *data);
uint32_t memory_used(void);
void memory_time(uint32_t us);
uint32_t memory_rate(void);
void memory_wrong(uint32_t overruns, uint32_t garbled);

static void boot(void) {
    boots++;
    rate = 0;
    spk_link_ring.head = spk_link_ring.tail = 0;
    spk_agent_boot();
}

void memory_boot(void) {
    boots = lost = sent_bytes = 0;
    wrong = (struct spk_board_line){0, 0, 0, 0};
    boot();
}

// Answers how many bytes found no room in the ring, since boot.
uint32_t memory_feed(const uint8_t *data, uint32_t size) {
    for (uint32_t i = 0; i < size; i++) {
        lost += !spk_ring_put(data[i]);
    }
    return lost;
}

int memory_poll(void) {
    if (setjmp(at_reset)) {
        boot();
        return 1;
    }
    return spk_agent_poll();
}

// What was sent since the last call.
uint32_t memory_take(uint8_t *data) {
    const uint32_t size = sent_bytes;

    memcpy(data, sent, size);
    sent_bytes = 0;
    return size;
}

uint32_t memory_used(void) {
    return spk_ring_used();
}

void memory_time(uint32_t us) {
    now_us = us;
}

uint32_t memory_rate(void) {
    return rate;
}

void memory_wrong(uint32_t overruns, uint32_t garbled) {
    wrong.overruns = overruns;
    wrong.garbled = garbled;
}

void spk_board_init(void) {
}

uint32_t spk_board_rx(uint8_t *buffer, uint32_t size) {
    (void)buffer;
    (void)size;
    return 0;
}

void spk_board_tx(const uint8_t *buffer, uint32_t size) {
    if (size <= OUT - sent_bytes) {
        memcpy(sent + sent_bytes, buffer, size);
        sent_bytes += size;
    }
}

void spk_board_idle(void) {
}

uint32_t spk_board_ticks(void) {
    return now_us;
}

void spk_board_line(struct spk_board_line *line) {
    *line = wrong;
    line->dropped = lost;
}

// Of a clock of 24 MHz that is divided by 12 at the least.
uint32_t spk_board_nearest_baud(uint32_t baud) {
    const uint32_t divisor = baud ? (24000000 + baud / 2) / baud : 0;

    return 24000000 / (divisor < 12 ? 12 : divisor);
}

uint32_t spk_board_set_baud(uint32_t baud) {
    rate = baud;
    return spk_board_nearest_baud(baud);
}

uint32_t spk_board_boot_id(void) {
    return boots;
}

void spk_board_unique_id(uint8_t id[8]) {
    memset(id, 'm', 8);
}

enum spk_reset_cause spk_board_reset_cause(void) {
    return boots > 1 ? SPK_RESET_REQUEST : SPK_RESET_POWER;
}

void spk_board_last_fault(struct spk_fault *fault) {
    *fault = (struct spk_fault){0, 0, 0};
}

uint32_t spk_board_stack_high_water(void) {
    return 0;
}

_Noreturn void spk_board_reset(void) {
    longjmp(at_reset, 1);
}
