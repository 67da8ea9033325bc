// What a board gives to the agent. A board is one folder: board.toml and the few lines of C behind
// these calls.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_BOARD_H
#define SPK_BOARD_H

#include <stdint.h>

enum spk_tick_unit {
    SPK_TICK_NONE = 0,
    SPK_TICK_INSTRUCTION = 1,
    SPK_TICK_CYCLE = 2,
    SPK_TICK_US = 3
};
enum spk_reset_cause {
    SPK_RESET_POWER = 0,
    SPK_RESET_REQUEST = 1,
    SPK_RESET_FAULT = 2,
    SPK_RESET_WATCHDOG = 3, // the fault's pc is where it found the core, where the board can tell
};

struct spk_fault {
    uint32_t cause;   // the core's own code (RISC-V mcause, Arm fault status); 0 = none
    uint32_t pc;      // address of the instruction that faulted; 0 where it could not be saved
    uint32_t address; // address it touched, where the core tells
};

struct spk_board_info {
    const char *isa;   // SPK_ISA: that of board.toml, such as "rv32imac"
    uint8_t tick_unit; // enum spk_tick_unit
    uint32_t tick_hz;  // ticks a second; 0 where a tick is not a time
};

// Where learned tensors are kept without power. Only images of models that learn use it.
struct spk_board_storage {
    uint32_t bytes; // of the region; 0 = the board has none
    uint32_t page;  // bytes that are erased at once; the region begins with a page
};

// What went wrong on the wire since boot.
struct spk_board_line {
    uint32_t overruns; // the receiver was full before its interrupt was taken: bytes are lost
    uint32_t
        garbled; // bytes without a stop bit or with wrong parity, and breaks: wrong baud, noise
    uint32_t dropped; // bytes for which the ring had no room
    uint32_t stuck;   // times that the transmitter took nothing for so long that it was given up
};

extern const struct spk_board_info spk_board_info;
extern const struct spk_board_storage spk_board_storage;

void spk_board_init(void);

// What has arrived, at most `size` bytes; never waits. Only of a board that is polled: one with a
// receive interrupt puts bytes into the ring itself (spk_ring.h) and answers 0.
uint32_t spk_board_rx(uint8_t *buffer, uint32_t size);

// Returns when all is handed over, or given up: a line that takes nothing holds nobody up.
void spk_board_tx(const uint8_t *buffer, uint32_t size);
void spk_board_idle(void); // nothing to do: may wait for a byte

// These four need not be given: then nothing is counted, the rate cannot be set, there is no
// watchdog.
void spk_board_line(struct spk_board_line *line);
uint32_t spk_board_nearest_baud(uint32_t baud); // that the clock can give; 0 = none near it
// Sets the line's rate once all that was sent has left. Answers the rate that the divisor gives; 0
// where that would be more than 2 % off, and then nothing is changed.
uint32_t spk_board_set_baud(uint32_t baud);
void spk_board_alive(void); // called between requests: a watchdog's period exceeds the longest

uint32_t spk_board_ticks(void); // free-running, wraps; not for interrupts, which it holds off
// Begins a tick now, so that a count from here does not depend on how much of one had passed: the
// same code then takes the same ticks. For counters of several instructions a tick.
void spk_board_ticks_begin(void);
uint32_t spk_board_boot_id(void); // differs after every reset
void spk_board_unique_id(uint8_t id[8]);
enum spk_reset_cause spk_board_reset_cause(void);
void spk_board_last_fault(struct spk_fault *fault);
uint32_t spk_board_stack_high_water(void); // bytes ever used, since boot; 0 = unknown
_Noreturn void spk_board_reset(void);

// Offsets are of the storage's first byte. The agent stays inside of it, erases whole pages, and
// writes pieces of 64 bytes, each once between two erases. 0, or a code of the board's own.
int spk_board_storage_erase(uint32_t offset); // a page: all FF
int spk_board_storage_write(uint32_t offset, const uint8_t *data, uint32_t size);
// 0, or a code where flash with error correction cannot read a word, as a cut write may leave it.
int spk_board_storage_read(uint32_t offset, void *data, uint32_t size);

#endif
