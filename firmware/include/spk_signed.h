// A state that the holder of a key has signed. Ed25519 and SHA-512 are Monocypher's (3 or 4, with
// its optional part), which the user's build brings; no arithmetic of curves is written here.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_SIGNED_H
#define SPK_SIGNED_H

#include <monocypher-ed25519.h>
#include <stdint.h>

#include "spk_state.h"

// seal: counter u32, little endian | signature 64, of
//   the text | counter | SHA-256 of the package | SHA-512 of the learned tensors, in table order
enum {
    SPK_SEAL_COUNTER = 4,
    SPK_SEAL_BYTES = SPK_SEAL_COUNTER + 64,
    SPK_SEAL_TEXT = 16,
    SPK_SEAL_PACKAGE = 32,
    SPK_SEAL_DIGEST = 64,
    SPK_SEAL_MESSAGE = SPK_SEAL_TEXT + SPK_SEAL_COUNTER + SPK_SEAL_PACKAGE + SPK_SEAL_DIGEST,
};

static inline uint32_t spk_seal_counter(const uint8_t *seal) {
    return (uint32_t)seal[0] | (uint32_t)seal[1] << 8 | (uint32_t)seal[2] << 16 |
           (uint32_t)seal[3] << 24;
}

// Whether the holder of a key has signed. key (32,), package (32,), digest (64,), seal (68,).
static inline int spk_is_sealed(const uint8_t *key, const uint8_t *package, const uint8_t *digest,
                                const uint8_t *seal) {
    static const uint8_t text[] = {'s', 'p', 'i', 'k', 'e', 'l', 'e', 't',
                                   ' ', 'd', 'e', 'l', 't', 'a', ' ', '1'};
    uint8_t message[SPK_SEAL_MESSAGE];
    uint8_t *at = message;

    spk_copy_bytes(at, text, SPK_SEAL_TEXT);
    at += SPK_SEAL_TEXT;
    spk_copy_bytes(at, seal, SPK_SEAL_COUNTER);
    at += SPK_SEAL_COUNTER;
    spk_copy_bytes(at, package, SPK_SEAL_PACKAGE);
    at += SPK_SEAL_PACKAGE;
    spk_copy_bytes(at, digest, SPK_SEAL_DIGEST);
    return crypto_ed25519_check(seal + SPK_SEAL_COUNTER, key, message, sizeof message) == 0;
}

#endif
