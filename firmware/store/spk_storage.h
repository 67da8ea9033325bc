// Learned tensors without power: two slots, of which one is always whole. See spk_storage.c.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_STORAGE_H
#define SPK_STORAGE_H

#include <stdint.h>

#include "spk_messages.h"

// The model that a reset brings back, and what it took to keep it.
struct spk_stored {
    uint32_t generation; // commits of this package; 0 = none
    uint32_t steps;      // learning steps behind it
    uint32_t crc;        // CRC-32 of its learned tensors, in table order
    uint32_t written;    // bytes written to the storage since boot
    uint32_t erased;     // pages erased since boot
    uint8_t found;       // SPK_STORED_...: what the storage held at the last look
    uint8_t slot;        // the one that holds it
};

const struct spk_stored *spk_stored(void);

// The learned tensors become those of the newest whole slot of this package, or the initial ones.
void spk_storage_restore(void);

// What was restored cannot be of this model: the learned tensors become the initial ones.
void spk_storage_refuse(void);

// Keeps the learned tensors. On any other answer than OK what was kept before is still there, and
// `detail` holds bytes that are missing (NO_MEM) or the board's own code (STORAGE).
enum spk_status spk_storage_commit(uint32_t steps, uint32_t *detail);

uint32_t spk_storage_slot_bytes(void); // of one slot; 0 where the board has no storage
uint32_t spk_learned_crc(void);        // CRC-32 of the learned tensors, in table order

#endif
