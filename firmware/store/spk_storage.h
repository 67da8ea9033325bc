// Learned tensors without power: two slots, of which one is always whole, and where a third one has
// room the factory's, which is written once. See spk_storage.c.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_STORAGE_H
#define SPK_STORAGE_H

#include <stdint.h>

#include "spk_messages.h"

// What the golden samples gave with some learned tensors.
struct spk_answers {
    uint32_t digest;  // CRC-32 over the outputs of all of them
    uint16_t samples; // which samples they were; 0 = none were run
};

// The model that a reset brings back, and what it took to keep it.
struct spk_stored {
    uint32_t generation;        // commits of this package; 0 = none
    uint32_t steps;             // learning steps behind it
    uint32_t crc;               // CRC-32 of its learned tensors, in table order
    uint32_t written;           // bytes written to the storage since boot
    uint32_t erased;            // pages erased since boot
    uint32_t worn;              // erases of the page that was erased most, as far as headers tell
    struct spk_answers answers; // of it, as they were when it was committed
    uint8_t found;              // SPK_STORED_...: what the slots of commits held at the last look
    uint8_t factory; // SPK_STORED_...: the same of the factory slot; NONE where there is none
    uint8_t source;  // SPK_SOURCE_...: where it comes from
    uint8_t slot;    // the one that holds it
#ifdef SPK_SIGNED
    uint32_t counter; // the highest that a whole slot of this package has; 0 = none
#endif
};

const struct spk_stored *spk_stored(void);

// Power is on: as spk_storage_restore(), and what was refused before counts again.
void spk_storage_boot(void);

// The learned tensors become those of the newest whole slot of this package; where there is none,
// the factory's; where there are none, the initial ones.
void spk_storage_restore(void);

// What was restored is not to be used: the learned tensors become the next best, and stay so until
// the next boot.
void spk_storage_refuse(void);

// Keeps the learned tensors. On any other answer than OK what was kept before is still there, and
// `detail` holds bytes that are missing (NO_MEM) or the board's own code (STORAGE).
enum spk_status spk_storage_commit(uint32_t steps, struct spk_answers answers, uint32_t *detail);

// Keeps the learned tensors in the factory slot. BAD_STATE where it is whole: it is written once;
// NO_MEM where three slots do not fit. What was committed is not touched.
enum spk_status spk_storage_keep_factory(uint32_t steps, struct spk_answers answers,
                                         uint32_t *detail);

// The learned tensors become the factory's, or the initial ones; their learning steps. What is
// committed stays.
uint32_t spk_storage_load_factory(void);

uint32_t spk_storage_slot_bytes(void); // of one slot; 0 where the board has no storage
uint32_t spk_learned_crc(void);        // CRC-32 of the learned tensors, in table order

#endif
