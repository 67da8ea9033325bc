// The native board's storage, made to fail. Operations are erases of a page and writes of a piece,
// counted from the start of the process:
//   SPIKELET_STORAGE_CUT=N    power goes in the N-th: half of it is done, and the process ends
//   SPIKELET_STORAGE_AFTER=N  power goes right behind the N-th
//   SPIKELET_STORAGE_ERROR=N  the N-th is not done and answers 5
// SPDX-License-Identifier: Apache-2.0
#define spk_board_storage_erase whole_erase
#define spk_board_storage_write whole_write
#include "../../boards/native/storage.c"
#undef spk_board_storage_erase
#undef spk_board_storage_write

enum { FAILED = 5, POWER_IS_GONE = 77 };

static uint32_t operations;

static int is_now(const char *variable) {
    const char *number = getenv(variable);

    return number && strtoul(number, NULL, 10) == operations;
}

int spk_board_storage_erase(uint32_t offset) {
    operations++;
    if (is_now("SPIKELET_STORAGE_ERROR")) {
        return FAILED;
    }
    if (is_now("SPIKELET_STORAGE_CUT")) {
        uint8_t erased[PIECE_MAX];
        memset(erased, 0xFF, sizeof erased);
        put(offset + PAGE / 2, erased, sizeof erased);
        _exit(POWER_IS_GONE);
    }
    const int code = whole_erase(offset);
    if (is_now("SPIKELET_STORAGE_AFTER")) {
        _exit(POWER_IS_GONE);
    }
    return code;
}

int spk_board_storage_write(uint32_t offset, const uint8_t *data, uint32_t size) {
    operations++;
    if (is_now("SPIKELET_STORAGE_ERROR")) {
        return FAILED;
    }
    const int cut = is_now("SPIKELET_STORAGE_CUT");
    const int code = whole_write(offset, data, cut ? size / 2 : size);
    if (cut || is_now("SPIKELET_STORAGE_AFTER")) {
        _exit(POWER_IS_GONE);
    }
    return code;
}
