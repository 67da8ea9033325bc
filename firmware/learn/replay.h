// Replay of stored features. Golden twin: pytools/spikelet/learn/learners/replay.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_REPLAY_H
#define SPK_REPLAY_H

#include "kernels/fixed.h"

struct spk_replay {
    uint32_t bytes; // of a sample
    uint32_t slots; // of a block
    uint32_t blocks;
    uint32_t length;            // samples after which a block is closed; 0: by a commit only
    const uint16_t *cumulative; // (blocks,) weights of the ages 1, 2, ... so far
};

// What is stored. Block `now` takes samples; `used` counts the blocks that hold some, now among
// them.
struct spk_replay_memory {
    uint8_t *samples; // (blocks, slots, bytes)
    uint8_t *labels;  // (blocks, slots)
    int32_t *fill;    // (blocks,) slots in use
    int32_t *now;     // (1,)
    int32_t *used;    // (1,)
    int32_t *seen;    // (1,) samples of this block
};

// A random number below n, which is at most 2^16.
SPK_INLINE uint32_t spk_replay_below(uint32_t *random, uint32_t n) {
    *random = spk_xorshift32(*random);
    return ((*random >> 16) * n) >> 16;
}

// Begins a new block, over the oldest one where all are in use; not where this one is empty.
SPK_INLINE void spk_replay_close(const struct spk_replay *c, const struct spk_replay_memory *m) {
    if (m->fill[*m->now] == 0) {
        return;
    }
    *m->now = (uint32_t)*m->now + 1 < c->blocks ? *m->now + 1 : 0;
    *m->used += (uint32_t)*m->used < c->blocks;
    m->fill[*m->now] = 0;
    *m->seen = 0;
}

// Keeps each sample of a block with the same probability: Vitter's algorithm R.
SPK_INLINE void spk_replay_store(const struct spk_replay *c, const void *sample,
                                 const int32_t *label, const struct spk_replay_memory *m,
                                 uint32_t *random) {
    if (c->length != 0 && (uint32_t)*m->seen >= c->length) {
        spk_replay_close(c, m);
    }
    const uint8_t *from = sample;
    int32_t *fill = &m->fill[*m->now];
    uint32_t slot = (uint32_t)*fill;
    *m->seen += *m->seen < INT32_MAX;
    if (slot < c->slots) {
        ++*fill;
    } else {
        *random = spk_xorshift32(*random);
        slot = (uint32_t)(((uint64_t)*random * (uint32_t)*m->seen) >> 32);
        if (slot >= c->slots) {
            return;
        }
    }
    const uint32_t at = (uint32_t)*m->now * c->slots + slot;
    for (uint32_t i = 0; i < c->bytes; i++) {
        m->samples[at * c->bytes + i] = from[i];
    }
    m->labels[at] = (uint8_t)*label;
}

// A closed block by the weight of its age, this one where there is no other; then one of its
// samples.
SPK_INLINE void spk_replay_draw(const struct spk_replay *c, const struct spk_replay_memory *m,
                                uint32_t *random, void *sample, int32_t *label) {
    uint8_t *to = sample;
    uint32_t block = (uint32_t)*m->now;
    if (*m->used > 1) {
        const uint32_t closed = (uint32_t)*m->used - 1;
        const uint32_t drawn = spk_replay_below(random, c->cumulative[closed - 1]);
        uint32_t age = 1;
        while (c->cumulative[age - 1] <= drawn) {
            age++;
        }
        block = block >= age ? block - age : block + c->blocks - age;
    }
    const uint32_t slot = spk_replay_below(random, (uint32_t)m->fill[block]);
    const uint32_t at = block * c->slots + slot;
    for (uint32_t i = 0; i < c->bytes; i++) {
        to[i] = m->samples[at * c->bytes + i];
    }
    *label = m->labels[at];
}

#endif
