// A power cut may come at any moment, and what it leaves of a page that is being erased or written
// is anything. So a commit never touches the slot in use: it erases the other one, its header
// first, writes the tensors, and writes the header last. Until that header is whole the slot does
// not count; from then on it is the newer one, if it reads back.
//   slot: header 64 | learned tensors in table order | FF to a multiple of 64
// Behind the two slots of commits lies the factory's, where three fit: what the device goes back to
// when neither of them is fit for use.
// Tensors stream through 64 bytes of stack. No piece is written twice between two erases, as flash
// with error correction demands.
// SPDX-License-Identifier: Apache-2.0
#ifdef SPK_LEARN

#include "spk_storage.h"
#include "spk_board.h"
#include "spk_frame.h"
#include "spk_model.h"
#ifdef SPK_SIGNED
#include "spk_agent.h"
#define COUNTER spk_signed_counter()
#else
#define COUNTER 0
#endif

enum {
    TURNS = 2,       // slots that commits take turns with
    FACTORY = TURNS, // the slot behind them
    SLOTS = TURNS + 1,
    NO_SLOT = SLOTS,
    PIECE = 64,     // bytes written at once: a multiple of what any flash programs at a time
    FORMAT = 2,     // of a slot; to be raised when what the tensors mean changes
    MAGIC = 0x5053, // "SP"
    // Offsets in the header.
    MAGIC_AT = 0,
    FORMAT_AT = 2,
    WEAR_AT = 3, // erases of the slot, 3 bytes
    SAMPLES_AT = 6,
    GENERATION_AT = 8,
    COUNTER_AT = 12, // of the newest signed state that went into it; 0 without a key
    STEPS_AT = 16,
    DATA_CRC_AT = 20,
    PACKAGE_AT = 24, // SHA-256
    DIGEST_AT = 56,
    HEADER_CRC_AT = 60,
    HEADER = PIECE,
    WEAR_MAX = 0xFFFFFF,
};

static struct spk_stored stored;
static uint32_t wear[SLOTS]; // erases, as far as they are known
static uint8_t refused;      // bit s: what slot s holds is not to be used

const struct spk_stored *spk_stored(void) {
    return &stored;
}

uint32_t spk_learned_crc(void) {
    uint32_t crc = 0;

    for (uint32_t i = 0; i < spk_model.tensor_count; i++) {
        const struct spk_tensor *tensor = &spk_model.tensors[i];
        if (tensor->kind == SPK_LEARNED) {
            crc = spk_crc32(crc, tensor->data, tensor->bytes);
        }
    }
    return crc;
}

static uint32_t learned_bytes(void) {
    uint32_t bytes = 0;

    for (uint32_t i = 0; i < spk_model.tensor_count; i++) {
        const struct spk_tensor *tensor = &spk_model.tensors[i];
        bytes += tensor->kind == SPK_LEARNED ? tensor->bytes : 0;
    }
    return bytes;
}

// Bytes of a slot that what is learned takes.
static uint32_t used_bytes(void) {
    return HEADER + (learned_bytes() + PIECE - 1) / PIECE * PIECE;
}

// Bytes of each of `slots` slots.
static uint32_t share(uint32_t slots) {
    const uint32_t page = spk_board_storage.page;

    return page ? spk_board_storage.bytes / slots / page * page : 0;
}

static int has_factory(void) {
    return share(SLOTS) >= used_bytes();
}

uint32_t spk_storage_slot_bytes(void) {
    return share(has_factory() ? SLOTS : TURNS);
}

// Whether the `bytes` bytes behind the header of a slot can be read and have that CRC-32.
static int is_whole(uint32_t slot, uint32_t bytes, uint32_t wanted) {
    uint32_t at = slot * spk_storage_slot_bytes() + HEADER;
    uint32_t crc = 0;

    while (bytes) {
        uint8_t piece[PIECE];
        const uint32_t size = bytes < PIECE ? bytes : PIECE;
        if (spk_board_storage_read(at, piece, size)) {
            return 0;
        }
        crc = spk_crc32(crc, piece, size);
        at += size;
        bytes -= size;
    }
    return crc == wanted;
}

// What a slot holds: SPK_STORED_LOADED where it may be loaded.
static uint32_t look(uint32_t slot, uint8_t header[HEADER]) {
    if (spk_board_storage_read(slot * spk_storage_slot_bytes(), header, HEADER)) {
        return SPK_STORED_DAMAGED;
    }
    if (spk_load16(header + MAGIC_AT) != MAGIC) {
        return SPK_STORED_EMPTY;
    }
    if (header[FORMAT_AT] != FORMAT) {
        return SPK_STORED_OTHER_VERSION;
    }
    if (spk_load32(header + HEADER_CRC_AT) != spk_crc32(0, header, HEADER_CRC_AT)) {
        return SPK_STORED_DAMAGED;
    }
    const uint32_t erases = spk_load32(header + WEAR_AT) & WEAR_MAX;
    wear[slot] = erases > wear[slot] ? erases : wear[slot];
    for (uint32_t i = 0; i < 32; i++) {
        if (header[PACKAGE_AT + i] != spk_model.package_sha256[i]) {
            return SPK_STORED_OTHER_MODEL;
        }
    }
    if (used_bytes() > spk_storage_slot_bytes()) {
        return SPK_STORED_OTHER_VERSION;
    }
    return is_whole(slot, learned_bytes(), spk_load32(header + DATA_CRC_AT)) ? SPK_STORED_LOADED
                                                                             : SPK_STORED_DAMAGED;
}

// The slot's model is to be the one in use.
static void take(uint32_t slot, const uint8_t header[HEADER]) {
    stored.slot = (uint8_t)slot;
    stored.source = slot == FACTORY ? SPK_SOURCE_FACTORY : SPK_SOURCE_COMMITTED;
    stored.steps = spk_load32(header + STEPS_AT);
    stored.crc = spk_load32(header + DATA_CRC_AT);
    stored.answers.digest = spk_load32(header + DIGEST_AT);
    stored.answers.samples = (uint16_t)spk_load16(header + SAMPLES_AT);
}

static void note_wear(void) {
    for (uint32_t slot = 0; slot < TURNS; slot++) { // a cut commit takes one's count with it
        const uint32_t other = wear[TURNS - 1 - slot];
        wear[slot] = other > wear[slot] ? other - 1 : wear[slot];
    }
    stored.worn = 0;
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        stored.worn = wear[slot] > stored.worn ? wear[slot] : stored.worn;
    }
}

// A slot is whole: no signed state that is older than the one in it is taken over any more.
static void note_counter(const uint8_t header[HEADER]) {
#ifdef SPK_SIGNED
    const uint32_t counter = spk_load32(header + COUNTER_AT);
    stored.counter = counter > stored.counter ? counter : stored.counter;
#else
    (void)header;
#endif
}

// The newest whole slot of this package that was not refused, or the factory's.
static void find(void) {
    uint8_t header[HEADER];
    uint32_t damaged = 0, newest = 0, seen = 0;

    stored.slot = NO_SLOT;
    stored.source = SPK_SOURCE_INITIAL;
    stored.generation = 0;
    stored.steps = 0;
    stored.answers.samples = 0;
    stored.answers.digest = 0;
    stored.found = SPK_STORED_NONE;
    stored.factory = SPK_STORED_NONE;
#ifdef SPK_SIGNED
    stored.counter = 0;
#endif
    if (spk_storage_slot_bytes() < HEADER) {
        return;
    }
    for (uint32_t slot = 0; slot < TURNS; slot++) {
        uint32_t found = look(slot, header);
        if (found == SPK_STORED_LOADED) {
            note_counter(header);
            const uint32_t generation = spk_load32(header + GENERATION_AT);
            if (!seen || (int32_t)(generation - stored.generation) > 0) {
                stored.generation = generation; // the next commit is to be newer than any
            }
            seen = 1;
            if (refused >> slot & 1) {
                found = SPK_STORED_DAMAGED;
            } else if (stored.slot == NO_SLOT || (int32_t)(generation - newest) > 0) {
                newest = generation;
                take(slot, header);
            }
        }
        stored.found = (uint8_t)(found > stored.found ? found : stored.found); // LOADED is highest
        damaged |= found == SPK_STORED_DAMAGED;
    }
    if (stored.found == SPK_STORED_LOADED && damaged) {
        stored.found = SPK_STORED_FALLBACK;
    }
    if (has_factory()) {
        const uint32_t found = look(FACTORY, header);
        if (found == SPK_STORED_LOADED) {
            note_counter(header);
        }
        const int usable = found == SPK_STORED_LOADED && !(refused >> FACTORY & 1);
        stored.factory =
            (uint8_t)(found < SPK_STORED_LOADED || usable ? found : SPK_STORED_DAMAGED);
        if (usable && stored.slot == NO_SLOT) {
            take(FACTORY, header);
        }
    }
    note_wear();
}

// Reads a slot's tensors; 0 where they are not those of that CRC.
static int load(uint32_t slot, uint32_t crc) {
    uint32_t at = slot * spk_storage_slot_bytes() + HEADER;
    int unread = 0;

    for (uint32_t i = 0; i < spk_model.tensor_count; i++) {
        const struct spk_tensor *tensor = &spk_model.tensors[i];
        if (tensor->kind == SPK_LEARNED) {
            unread |= spk_board_storage_read(at, tensor->data, tensor->bytes);
            at += tensor->bytes;
        }
    }
    return !unread && spk_learned_crc() == crc; // it may change between two readings
}

void spk_storage_restore(void) {
    for (;;) {
        find();
        if (stored.slot == NO_SLOT) {
            spk_model_load();
            stored.crc = spk_learned_crc();
            return;
        }
        if (load(stored.slot, stored.crc)) {
            return;
        }
        refused |= (uint8_t)(1u << stored.slot);
    }
}

void spk_storage_boot(void) {
    refused = 0;
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        wear[slot] = 0;
    }
    spk_storage_restore();
}

void spk_storage_refuse(void) {
    if (stored.slot != NO_SLOT) {
        refused |= (uint8_t)(1u << stored.slot);
    }
    spk_storage_restore();
}

uint32_t spk_storage_load_factory(void) {
    uint8_t header[HEADER];

    if (stored.factory == SPK_STORED_LOADED && look(FACTORY, header) == SPK_STORED_LOADED &&
        load(FACTORY, spk_load32(header + DATA_CRC_AT))) {
        return spk_load32(header + STEPS_AT);
    }
    spk_model_load();
    return 0;
}

static int write_piece(uint32_t at, const uint8_t *piece) {
    stored.written += PIECE;
    return spk_board_storage_write(at, piece, PIECE);
}

// Writes the learned tensors from `at` on; 0 or the board's code.
static int write_tensors(uint32_t at) {
    uint8_t piece[PIECE];
    uint32_t used = 0;

    for (uint32_t i = 0; i < spk_model.tensor_count; i++) {
        const struct spk_tensor *tensor = &spk_model.tensors[i];
        const uint8_t *data = tensor->data;
        if (tensor->kind != SPK_LEARNED) {
            continue;
        }
        for (uint32_t byte = 0; byte < tensor->bytes; byte++) {
            piece[used++] = data[byte];
            if (used == PIECE) {
                const int code = write_piece(at, piece);
                if (code) {
                    return code;
                }
                at += PIECE;
                used = 0;
            }
        }
    }
    if (used == 0) {
        return 0;
    }
    while (used < PIECE) {
        piece[used++] = 0xFF;
    }
    return write_piece(at, piece);
}

static void make_header(uint8_t header[HEADER], uint32_t slot, uint32_t generation, uint32_t steps,
                        struct spk_answers answers) {
    uint8_t *at = header;

    at = spk_store(at, MAGIC, 2);
    at = spk_store(at, FORMAT, 1);
    at = spk_store(at, wear[slot] < WEAR_MAX ? wear[slot] : WEAR_MAX, 3);
    at = spk_store(at, answers.samples, 2);
    at = spk_store(at, generation, 4);
    at = spk_store(at, COUNTER, 4);
    at = spk_store(at, steps, 4);
    at = spk_store(at, spk_learned_crc(), 4);
    for (uint32_t i = 0; i < 32; i++) {
        *at++ = spk_model.package_sha256[i];
    }
    at = spk_store(at, answers.digest, 4);
    spk_store(at, spk_crc32(0, header, HEADER_CRC_AT), 4);
}

// Erases a slot and writes the learned tensors to it; not OK unless it reads back.
static enum spk_status write_slot(uint32_t slot, uint8_t header[HEADER], uint32_t *detail) {
    const uint32_t base = slot * spk_storage_slot_bytes();
    const uint32_t used = used_bytes();
    uint8_t again[HEADER];

    for (uint32_t at = 0; at < used; at += spk_board_storage.page) {
        stored.erased++;
        *detail = (uint32_t)spk_board_storage_erase(base + at);
        if (*detail) {
            return SPK_STATUS_STORAGE;
        }
    }
    *detail = (uint32_t)write_tensors(base + HEADER);
    if (*detail) {
        return SPK_STATUS_STORAGE;
    }
    const int code = write_piece(base, header);
    if (code || look(slot, again) != SPK_STORED_LOADED) {
        *detail = code ? (uint32_t)code : SPK_STORAGE_WORN;
        stored.erased++;
        spk_board_storage_erase(base); // or a later look might take it for whole
        return SPK_STATUS_STORAGE;
    }
    refused &= (uint8_t)~(1u << slot);
    *detail = 0;
    return SPK_STATUS_OK;
}

// Puts the learned tensors into a slot. OK, or why not.
static enum spk_status keep(uint32_t slot, uint32_t generation, uint32_t steps,
                            struct spk_answers answers, uint32_t *detail) {
    uint8_t header[HEADER];
    const uint32_t room = slot == FACTORY ? share(SLOTS) : spk_storage_slot_bytes();

    *detail = SPK_STORAGE_NONE;
    if (room == 0) {
        return SPK_STATUS_STORAGE;
    }
    if (used_bytes() > room) {
        *detail = used_bytes() - room;
        return SPK_STATUS_NO_MEM;
    }
    wear[slot]++;
    make_header(header, slot, generation, steps, answers);
    const enum spk_status status = write_slot(slot, header, detail);
    note_wear();
    return status;
}

enum spk_status spk_storage_commit(uint32_t steps, struct spk_answers answers, uint32_t *detail) {
    const uint32_t slot = stored.slot == 0 ? 1 : 0;
    const enum spk_status status = keep(slot, stored.generation + 1, steps, answers, detail);

    if (status == SPK_STATUS_OK) {
        stored.generation++;
        stored.steps = steps;
        stored.crc = spk_learned_crc();
        stored.answers = answers;
        stored.slot = (uint8_t)slot;
        stored.source = SPK_SOURCE_COMMITTED;
        stored.found = SPK_STORED_LOADED;
    }
    return status;
}

enum spk_status spk_storage_keep_factory(uint32_t steps, struct spk_answers answers,
                                         uint32_t *detail) {
    if (stored.factory == SPK_STORED_LOADED) {
        *detail = SPK_STORED_LOADED;
        return SPK_STATUS_BAD_STATE;
    }
    const enum spk_status status = keep(FACTORY, 0, steps, answers, detail);
    if (status == SPK_STATUS_OK) {
        stored.factory = SPK_STORED_LOADED;
    }
    return status;
}

#else
typedef int spk_storage_is_for_models_that_learn; // a file may not be empty
#endif
