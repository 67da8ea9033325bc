// The device as a process: link bytes on standard input and output, until input ends.
// A reset replaces the process by itself, so the link stays open, as a wire would.
// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "spk_agent.h"
#include "spk_board.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1 // its own report of a fault is worth more than ours
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

enum { LINK_IN = 0, LINK_OUT = 1 };

// What a board keeps in RAM over a reset is kept here in the argument list: "--after CAUSE FAULT
// ADDRESS", each as eight hexadecimal digits.
enum { KEPT_WORDS = 3, KEPT_DIGITS = 8, KEPT_ARGS = 2 + KEPT_WORDS };

static char *self;
static enum spk_reset_cause reset_cause;
static struct spk_fault last_fault;
static uint32_t boot_id;

const struct spk_board_info spk_board_info = {
    .isa = SPK_ISA, .tick_unit = SPK_TICK_NONE, .tick_hz = 0};

static uint32_t hex_read(const char *text) {
    return (uint32_t)strtoul(text, NULL, 16);
}

// Called by a signal handler too: async-signal-safe calls only.
_Noreturn static void restart(enum spk_reset_cause cause, uint32_t fault, uint32_t address) {
    static char text[KEPT_WORDS][KEPT_DIGITS + 1];
    static char flag[] = "--after";
    static char *arguments[KEPT_ARGS + 1];
    const uint32_t kept[KEPT_WORDS] = {(uint32_t)cause, fault, address};

    arguments[0] = self;
    arguments[1] = flag;
    for (uint32_t i = 0; i < KEPT_WORDS; i++) {
        for (uint32_t digit = 0; digit < KEPT_DIGITS; digit++) {
            text[i][digit] = "0123456789abcdef"[kept[i] >> (28 - 4 * digit) & 15];
        }
        arguments[2 + i] = text[i];
    }
#ifdef __linux__
    execv("/proc/self/exe", arguments);
#endif
    execv(self, arguments);
    _exit(70);
}

#ifndef SANITIZED
static void on_fault(int number, siginfo_t *info, void *context) {
    (void)context;
    restart(SPK_RESET_FAULT, (uint32_t)number, (uint32_t)(uintptr_t)info->si_addr);
}

static void catch_faults(void) {
    static uint8_t stack[16384]; // the fault may be that the other one is used up
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    const stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};

    sigaltstack(&alternative, NULL);
    action.sa_sigaction = on_fault;
    for (uint32_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        sigaction(faults[i], &action, NULL);
    }
}
#endif

void spk_board_init(void) {
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    boot_id = (uint32_t)now.tv_nsec ^ (uint32_t)now.tv_sec * 1000003u ^ (uint32_t)getpid() << 16;
    signal(SIGPIPE, SIG_IGN);
#ifndef SANITIZED
    catch_faults();
#endif
}

// Nobody is at the other end any more, which is how a device process is told to stop.
_Noreturn static void link_closed(void) {
    exit(0);
}

static int input_ready(int timeout_ms) {
    struct pollfd in = {.fd = LINK_IN, .events = POLLIN};

    return poll(&in, 1, timeout_ms) > 0;
}

uint32_t spk_board_rx(uint8_t *buffer, uint32_t size) {
    if (size == 0 || !input_ready(0)) {
        return 0;
    }
    const ssize_t n = read(LINK_IN, buffer, size);
    if (n > 0) {
        return (uint32_t)n;
    }
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
        return 0;
    }
    link_closed();
}

void spk_board_tx(const uint8_t *buffer, uint32_t size) {
    while (size > 0) {
        const ssize_t n = write(LINK_OUT, buffer, size);
        if (n > 0) {
            buffer += n;
            size -= (uint32_t)n;
        } else if (errno == EAGAIN) {
            struct pollfd out = {.fd = LINK_OUT, .events = POLLOUT};
            poll(&out, 1, -1);
        } else if (errno != EINTR) {
            link_closed();
        }
    }
}

void spk_board_idle(void) {
    input_ready(-1);
}

uint32_t spk_board_ticks(void) {
    return 0;
}

uint32_t spk_board_boot_id(void) {
    return boot_id;
}

// The same for every process of a host, so that a session can go on with a new one.
void spk_board_unique_id(uint8_t id[8]) {
    static const uint8_t kind[4] = {'h', 'o', 's', 't'};
    char host[64] = {0};
    uint32_t hash = 2166136261u; // FNV-1a of the host's name

    gethostname(host, sizeof host - 1);
    for (const char *at = host; *at; at++) {
        hash = (hash ^ (uint8_t)*at) * 16777619u;
    }
    for (uint32_t i = 0; i < sizeof kind; i++) {
        id[i] = kind[i];
        id[4 + i] = (uint8_t)(hash >> 8 * i);
    }
}

enum spk_reset_cause spk_board_reset_cause(void) {
    return reset_cause;
}

void spk_board_last_fault(struct spk_fault *fault) {
    *fault = last_fault;
}

uint32_t spk_board_stack_high_water(void) {
    return 0;
}

_Noreturn void spk_board_reset(void) {
    restart(SPK_RESET_REQUEST, last_fault.cause, last_fault.address);
}

int main(int count, char **arguments) {
    self = arguments[0];
    if (count == KEPT_ARGS) {
        reset_cause = (enum spk_reset_cause)hex_read(arguments[2]);
        last_fault.cause = hex_read(arguments[3]);
        last_fault.address = hex_read(arguments[4]);
    }
    spk_board_init();
    spk_agent_main();
}
