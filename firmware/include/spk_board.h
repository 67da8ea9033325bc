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
enum spk_reset_cause { SPK_RESET_POWER = 0, SPK_RESET_REQUEST = 1, SPK_RESET_FAULT = 2 };

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

extern const struct spk_board_info spk_board_info;
extern const struct spk_board_storage spk_board_storage;

void spk_board_init(void);
uint32_t spk_board_rx(uint8_t *buffer,
                      uint32_t size); // what has arrived, at most size; never waits
void spk_board_tx(const uint8_t *buffer, uint32_t size); // returns when all is handed over
void spk_board_idle(void);                               // nothing to do: may wait for a byte
uint32_t spk_board_ticks(void);                          // free-running, wraps
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
