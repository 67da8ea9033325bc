// Deltas of every form under any bytes, as libFuzzer makes them: NAME_restore and
// NAME_restore_signed of the C library answer what the header says, and take all of it or nothing.
// What they took is run.
//   input: how u8 | form u8 | counter that the device holds u8 | bytes ...
//   how, two bits: 0: bytes are a state; 1: they are a signed state; 2: they edit a good state,
//   which is then signed; 3: they edit a good signed state. Bit 2: of 0 and 1, the tag is good.
//   edits: where u16, what u8 ...
// Curve arithmetic takes fifty times as long as all else. Where the build has the libraries call
// fuzz_ed25519_check (as the Makefile's), one input of CURVE_OF is signed and checked with Ed25519,
// all others with SHA-512 of secret and message: nobody but this file tells the two apart.
// The key is known here, so that what lies behind a signature is reached, too; and signatures of
// Ed25519 are one for each message, so that a good one is told by making it.
// SPDX-License-Identifier: Apache-2.0
#include <monocypher-ed25519.h>
#include "fuzz_same.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TAG = 8, SEAL = 68, COUNTER = 5, MOST = 1024 };
enum { STATE_OK = 0, NOT_ADMITTED = -3, NOT_SIGNED = -4, TOO_OLD = -5 };
enum { RAW, RAW_SIGNED, EDITED_THEN_SIGNED, SIGNED_THEN_EDITED, MODES, GOOD_TAG = 4 };

struct values {
    uint32_t count, bytes;
    int is_signed;
    int64_t low, high;
};

struct form {
    int (*init)(void);
    void (*save)(void *);
    int (*restore)(const void *);
    int (*restore_signed)(const void *, size_t, uint32_t *);
    int (*invoke)(void);
    const uint8_t *good; // (bytes,) a state
    uint32_t bytes;
    const struct values *values; // (rows,)
    uint32_t rows;
    uint8_t package[32];
};

#include "forms.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static const uint8_t secret[32] = SECRET, public[32] = PUBLIC;

#ifdef crypto_ed25519_check
#undef crypto_ed25519_check
int crypto_ed25519_check(const uint8_t signature[64], const uint8_t public_key[32],
                         const uint8_t *message, size_t message_size);

enum { CURVE_OF = 32 };
static int curve; // of this input

static void stand_in(uint8_t signature[64], const uint8_t *message, size_t size) {
    uint8_t keyed[32 + 256];

    CHECK(size <= sizeof keyed - 32);
    memcpy(keyed, secret, 32);
    memcpy(keyed + 32, message, size);
    crypto_sha512(signature, keyed, 32 + size);
}

int fuzz_ed25519_check(const uint8_t signature[64], const uint8_t public_key[32],
                       const uint8_t *message, size_t message_size) {
    uint8_t wanted[64];

    CHECK(same(public_key, public, 32));
    if (curve) {
        return crypto_ed25519_check(signature, public_key, message, message_size);
    }
    stand_in(wanted, message, message_size);
    return same(wanted, signature, 64) ? 0 : -1;
}

static void sign(uint8_t signature[64], const uint8_t *message, size_t size) {
    if (curve) {
        crypto_ed25519_sign(signature, secret, public, message, size);
    } else {
        stand_in(signature, message, size);
    }
}

// The same for an input each time.
static int has_curve(const uint8_t *data, size_t size) {
    uint32_t sum = 1;

    for (size_t i = 0; i < size; i++) {
        sum = (sum ^ data[i]) * 0x01000193u;
    }
    return (sum >> 16) % CURVE_OF == 0;
}
#else
static int curve = 1;

static void sign(uint8_t signature[64], const uint8_t *message, size_t size) {
    crypto_ed25519_sign(signature, secret, public, message, size);
}

static int has_curve(const uint8_t *data, size_t size) {
    (void)data, (void)size;
    return 1;
}
#endif

static int64_t number(const uint8_t *at, const struct values *of) {
    uint64_t bits = 0;

    for (uint32_t i = of->bytes; i--;) {
        bits = bits << 8 | at[i];
    }
    const uint64_t sign = (uint64_t)1 << (8 * of->bytes - 1);
    return of->is_signed && bits & sign ? (int64_t)bits - (int64_t)(2 * sign) : (int64_t)bits;
}

static int is_admitted(const struct form *form, const uint8_t *state) {
    const uint8_t *at = state + TAG;

    if (!same(state, form->package, TAG)) {
        return 0;
    }
    for (uint32_t row = 0; row < form->rows; row++) {
        const struct values *of = &form->values[row];
        for (uint32_t i = 0; i < of->count; i++, at += of->bytes) {
            const int64_t value = number(at, of);
            if (value < of->low || value > of->high) {
                return 0;
            }
        }
    }
    return 1;
}

static void seal(const struct form *form, uint8_t *state, uint32_t counter) {
    uint8_t message[16 + 4 + 32 + 64], *at = state + form->bytes;

    for (uint32_t i = 0; i < 4; i++) {
        at[i] = (uint8_t)(counter >> 8 * i);
    }
    memcpy(message, "spikelet delta 1", 16);
    memcpy(message + 16, at, 4);
    memcpy(message + 20, form->package, 32);
    crypto_sha512(message + 52, state + TAG, form->bytes - TAG);
    sign(at + 4, message, sizeof message);
}

static uint32_t counter_of(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

// A good state, signed once for each way to sign.
static const uint8_t *sealed(const struct form *form) {
    enum { FORMS = sizeof forms / sizeof forms[0] };
    static uint8_t states[2 * FORMS][MOST];
    static uint8_t made[2 * FORMS];
    const size_t at = 2 * (size_t)(form - forms) + (size_t)curve;
    uint8_t *state = states[at];

    if (!made[at]) {
        made[at] = 1;
        memcpy(state, form->good, form->bytes);
        seal(form, state, COUNTER);
    }
    return state;
}

static int is_sealed(const struct form *form, uint32_t mode, const uint8_t *state) {
    uint8_t again[MOST];

    if (mode == EDITED_THEN_SIGNED) {
        return 1;
    }
    if (mode == SIGNED_THEN_EDITED) { // the tag is not signed: it says which package was
        return same(state + TAG, sealed(form) + TAG, form->bytes - TAG + SEAL);
    }
    memcpy(again, state, form->bytes);
    seal(form, again, counter_of(state + form->bytes));
    return same(again + form->bytes, state + form->bytes, SEAL);
}

// What NAME_restore_signed is to answer.
static int verdict(const struct form *form, uint32_t mode, const uint8_t *state, size_t bytes,
                   uint32_t held) {
    if (bytes != form->bytes + SEAL || !is_sealed(form, mode, state)) {
        return NOT_SIGNED;
    }
    if (counter_of(state + form->bytes) < held) {
        return TOO_OLD;
    }
    return is_admitted(form, state) ? STATE_OK : NOT_ADMITTED;
}

static void edit(uint8_t *state, size_t bytes, const uint8_t *data, size_t size) {
    for (size_t i = 0; i + 3 <= size; i += 3) {
        state[((size_t)data[i] | (size_t)data[i + 1] << 8) % bytes] = data[i + 2];
    }
}

// The bytes that are restored, in memory of just their size.
static uint8_t *made(const struct form *form, uint8_t how, const uint8_t *data, size_t *size) {
    const uint32_t mode = how % MODES;
    const size_t bytes = mode == RAW          ? form->bytes
                         : mode == RAW_SIGNED ? *size
                                              : form->bytes + SEAL;
    uint8_t *state = malloc(bytes ? bytes : 1);

    CHECK(state);
    if (mode <= RAW_SIGNED) { // what is missing of a state is that of a good one
        const size_t least = bytes < form->bytes ? bytes : form->bytes;
        memset(state, 0, bytes);
        memcpy(state, form->good, least);
        memcpy(state, data, *size < bytes ? *size : bytes);
        if (how & GOOD_TAG) {
            memcpy(state, form->package, least < TAG ? least : TAG);
        }
    } else {
        memcpy(state, sealed(form), bytes);
        edit(state, mode == EDITED_THEN_SIGNED ? form->bytes : bytes, data, *size);
        if (mode == EDITED_THEN_SIGNED) {
            seal(form, state, COUNTER);
        }
    }
    *size = bytes;
    return state;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t before[MOST], after[MOST];
    if (size < 3) {
        return 0;
    }
    const struct form *form = &forms[data[1] % (sizeof forms / sizeof forms[0])];
    const uint8_t how = data[0];
    const uint32_t held = data[2];
    uint32_t counter = held;
    curve = has_curve(data, size);
    size -= 3;
    CHECK(form->bytes + SEAL <= sizeof before);
    uint8_t *state = made(form, how, data + 3, &size);
    form->init();
    form->save(before);
    int status, expected;
    if (how % MODES == RAW) {
        status = form->restore(state);
        expected = is_admitted(form, state) ? STATE_OK : NOT_ADMITTED;
    } else {
        status = form->restore_signed(state, size, &counter);
        expected = verdict(form, how % MODES, state, size, held);
    }
    CHECK(status == expected);
    form->save(after);
    if (status == STATE_OK) {
        CHECK(same(after, state, form->bytes));
        CHECK(how % MODES == RAW || counter == counter_of(state + form->bytes));
        CHECK(form->invoke() == 0);
    } else {
        CHECK(same(after, before, form->bytes));
        CHECK(counter == held);
    }
    free(state);
    return 0;
}

#ifndef SPK_LIBFUZZER
// Without libFuzzer: inputs at random, so many of them.
int main(int count, char **words) {
    uint8_t data[600];
    uint32_t noise = 1;
    long runs = count > 1 ? atol(words[1]) : 10000;

    for (long run = 0; run < runs; run++) {
        const size_t size = 3 + 3 * (noise >> 16) % (run % 8 ? 12 : sizeof data - 3);
        for (size_t i = 0; i < size; i++) {
            noise = noise * 1664525u + 1013904223u;
            data[i] = (uint8_t)(noise >> 24);
        }
        data[2] %= 2 * COUNTER;
        LLVMFuzzerTestOneInput(data, size);
    }
    printf("runs %ld\n", runs);
    return 0;
}
#endif
