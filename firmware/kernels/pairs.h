// Weights of 4 bits, two channels in the halves of a word: one multiplication serves both.
// SPDX-License-Identifier: Apache-2.0
//
// A word has the weights of one input for eight channels, raised as packed.h says. Channels 0, 2, 4
// and 6 lie in its lower half, the lowest first, channels 1, 3, 5 and 7 in its upper half.
//
// The sum of a pair begins with what the raising will add, and 128 below, in both halves: each half
// then stays within 16 bits for 32 inputs, whatever they are.
#ifndef SPK_PAIRS_H
#define SPK_PAIRS_H

#include "kernels/fixed.h"

enum { SPK_PAIR_RUN = 32 }; // inputs

// The fields of channels 2k and 2k + 1.
SPK_INLINE uint32_t spk_pair(uint32_t word, uint32_t k) {
    return word >> 4 * k & 0x000F000Fu;
}

// How the sum of a pair begins; total: of the inputs of the run.
SPK_INLINE uint32_t spk_pair_start(int32_t total) {
    return (uint32_t)-(8 * total + 128) * 0x00010001u;
}

// What the sums of a run have too little, once those of an odd grid are doubled.
SPK_INLINE uint32_t spk_pair_inputs(bool odd, int32_t total) {
    return odd ? 256u + (uint32_t)total : 128u;
}

// The sum of the second channel.
SPK_INLINE uint32_t spk_pair_high(uint32_t sum) {
    return (uint32_t)((int32_t)(sum + 0x8000u) >> 16);
}

#endif
