// A power cut may come at any moment, and what it leaves of a page that is being erased or written
// is anything. So a commit never touches the slot in use: it erases the other one, its header
// first, writes the tensors, and writes the header last. Until that header is whole the slot does
// not count; from then on it is the newer one, if it reads back.
//   slot: header 64 | learned tensors in table order | FF to a multiple of 64
// Tensors stream through 64 bytes of stack. No piece is written twice between two erases, as flash
// with error correction demands.
// SPDX-License-Identifier: Apache-2.0
#ifdef SPK_LEARN

#include "spk_storage.h"
#include "spk_board.h"
#include "spk_frame.h"
#include "spk_model.h"

enum {
    SLOTS = 2,
    PIECE = 64, // bytes written at once: a multiple of what any flash programs at a time
    FORMAT = 1, // of a slot; to be raised when what the tensors mean changes
    NO_SLOT = SLOTS,
    // Offsets in the header.
    MAGIC_AT = 0,
    FORMAT_AT = 4,
    GENERATION_AT = 8,
    BYTES_AT = 12,
    STEPS_AT = 16,
    DATA_CRC_AT = 20,
    PACKAGE_AT = 24, // SHA-256
    HEADER_CRC_AT = 60,
    HEADER = PIECE,
};

static const uint32_t magic = 0x4C4B5053u; // "SPKL"

static struct spk_stored stored;

const struct spk_stored *spk_stored(void) {
    return &stored;
}

uint32_t spk_storage_slot_bytes(void) {
    const uint32_t page = spk_board_storage.page;

    return page ? spk_board_storage.bytes / SLOTS / page * page : 0;
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
    if (spk_load32(header + MAGIC_AT) != magic) {
        return SPK_STORED_EMPTY;
    }
    if (spk_load32(header + FORMAT_AT) != FORMAT) {
        return SPK_STORED_OTHER_VERSION;
    }
    if (spk_load32(header + HEADER_CRC_AT) != spk_crc32(0, header, HEADER_CRC_AT)) {
        return SPK_STORED_DAMAGED;
    }
    for (uint32_t i = 0; i < 32; i++) {
        if (header[PACKAGE_AT + i] != spk_model.package_sha256[i]) {
            return SPK_STORED_OTHER_MODEL;
        }
    }
    const uint32_t bytes = learned_bytes();
    if (spk_load32(header + BYTES_AT) != bytes || bytes > spk_storage_slot_bytes() - HEADER) {
        return SPK_STORED_OTHER_VERSION;
    }
    return is_whole(slot, bytes, spk_load32(header + DATA_CRC_AT)) ? SPK_STORED_LOADED
                                                                   : SPK_STORED_DAMAGED;
}

// The newest whole slot of this package.
static void find(void) {
    uint8_t header[HEADER];

    stored.slot = NO_SLOT;
    stored.generation = 0;
    stored.steps = 0;
    stored.found = SPK_STORED_NONE;
    if (spk_storage_slot_bytes() < HEADER) {
        return;
    }
    uint32_t damaged = 0;
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        const uint32_t found = look(slot, header);
        const uint32_t generation = spk_load32(header + GENERATION_AT);
        if (found > stored.found) {
            stored.found = (uint8_t)found; // SPK_STORED_LOADED is the highest of these
        }
        damaged |= found == SPK_STORED_DAMAGED;
        if (found == SPK_STORED_LOADED &&
            (stored.slot == NO_SLOT || (int32_t)(generation - stored.generation) > 0)) {
            stored.slot = (uint8_t)slot;
            stored.generation = generation;
            stored.steps = spk_load32(header + STEPS_AT);
            stored.crc = spk_load32(header + DATA_CRC_AT);
        }
    }
    if (stored.found == SPK_STORED_LOADED && damaged) {
        stored.found = SPK_STORED_FALLBACK;
    }
}

void spk_storage_refuse(void) {
    stored.found = SPK_STORED_DAMAGED;
    stored.steps = 0; // the generation stays: the next commit is to be the newer one
    spk_model_load();
    stored.crc = spk_learned_crc();
}

void spk_storage_restore(void) {
    find();
    if (stored.slot == NO_SLOT) {
        spk_model_load();
        stored.crc = spk_learned_crc();
        return;
    }
    uint32_t at = stored.slot * spk_storage_slot_bytes() + HEADER;
    int unread = 0;
    for (uint32_t i = 0; i < spk_model.tensor_count; i++) {
        const struct spk_tensor *tensor = &spk_model.tensors[i];
        if (tensor->kind == SPK_LEARNED) {
            unread |= spk_board_storage_read(at, tensor->data, tensor->bytes);
            at += tensor->bytes;
        }
    }
    if (unread || spk_learned_crc() != stored.crc) { // it changed between two readings
        spk_storage_refuse();
    }
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

static void make_header(uint8_t header[HEADER], uint32_t steps, uint32_t bytes, uint32_t crc) {
    uint8_t *at = header;

    at = spk_store(at, magic, 4);
    at = spk_store(at, FORMAT, 4);
    at = spk_store(at, stored.generation + 1, 4);
    at = spk_store(at, bytes, 4);
    at = spk_store(at, steps, 4);
    at = spk_store(at, crc, 4);
    for (uint32_t i = 0; i < 32; i++) {
        *at++ = spk_model.package_sha256[i];
    }
    at = spk_store(at, 0xFFFFFFFFu, 4);
    spk_store(at, spk_crc32(0, header, HEADER_CRC_AT), 4);
}

enum spk_status spk_storage_commit(uint32_t steps, uint32_t *detail) {
    uint8_t header[HEADER], again[HEADER];
    const uint32_t bytes = learned_bytes();
    const uint32_t pieces = HEADER + (bytes + PIECE - 1) / PIECE * PIECE;
    const uint32_t room = spk_storage_slot_bytes();
    const uint32_t slot = stored.slot == 0 ? 1 : 0;
    const uint32_t base = slot * room;

    *detail = SPK_STORAGE_NONE;
    if (room == 0) {
        return SPK_STATUS_STORAGE;
    }
    if (pieces > room) {
        *detail = pieces - room;
        return SPK_STATUS_NO_MEM;
    }
    for (uint32_t at = 0; at < pieces; at += spk_board_storage.page) {
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
    const uint32_t crc = spk_learned_crc();
    make_header(header, steps, bytes, crc);
    const int code = write_piece(base, header);
    if (code || look(slot, again) != SPK_STORED_LOADED) {
        *detail = code ? (uint32_t)code : SPK_STORAGE_WORN;
        stored.erased++;
        spk_board_storage_erase(base); // or a later look might take it for whole
        return SPK_STATUS_STORAGE;
    }
    stored.generation++;
    stored.steps = steps;
    stored.crc = crc;
    stored.slot = (uint8_t)slot;
    stored.found = SPK_STORED_LOADED;
    *detail = 0;
    return SPK_STATUS_OK;
}

#else
typedef int spk_storage_is_for_models_that_learn; // a file may not be empty
#endif
