// A board for the link's tests: bytes on stdin and stdout. A reset executes the program anew, so
// that boot id and memory change as they do on a device; the bytes under way stay in the pipe.
// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "spk_agent.h"
#include "spk_board.h"

const struct spk_board_info spk_board_info = {"native", SPK_TICK_US, 1000000};

static uint32_t boot_id;

void spk_board_init(void) {
    const char *boots = getenv("SPK_TEST_BOOTS");
    boot_id = boots ? (uint32_t)strtoul(boots, NULL, 10) + 1 : 1;
}

uint32_t spk_board_rx(uint8_t *buffer, uint32_t size) {
    struct pollfd in = {.fd = 0, .events = POLLIN};

    if (poll(&in, 1, 0) <= 0) {
        return 0;
    }
    const ssize_t got = read(0, buffer, size);
    if (got <= 0) {
        _exit(0); // the host is gone
    }
    return (uint32_t)got;
}

void spk_board_tx(const uint8_t *buffer, uint32_t size) {
    while (size) {
        const ssize_t sent = write(1, buffer, size);
        if (sent <= 0) {
            _exit(0);
        }
        buffer += sent;
        size -= (uint32_t)sent;
    }
}

void spk_board_idle(void) {
    struct pollfd in = {.fd = 0, .events = POLLIN};
    poll(&in, 1, -1);
}

uint32_t spk_board_ticks(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u);
}

uint32_t spk_board_boot_id(void) {
    return boot_id;
}

void spk_board_unique_id(uint8_t id[8]) {
    for (uint32_t i = 0; i < 8; i++) {
        id[i] = (uint8_t)('a' + i);
    }
}

enum spk_reset_cause spk_board_reset_cause(void) {
    return boot_id > 1 ? SPK_RESET_REQUEST : SPK_RESET_POWER;
}

void spk_board_last_fault(struct spk_fault *fault) {
    *fault = (struct spk_fault){0, 0, 0};
}

uint32_t spk_board_stack_high_water(void) {
    return 0;
}

_Noreturn void spk_board_reset(void) {
    char boots[16];
    char *argv[] = {"device", NULL};

    snprintf(boots, sizeof boots, "%lu", (unsigned long)boot_id);
    setenv("SPK_TEST_BOOTS", boots, 1);
    execv("/proc/self/exe", argv);
    abort();
}

int main(void) {
    spk_board_init();
    spk_agent_main();
}
