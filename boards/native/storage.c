// Storage of the process: the file that SPIKELET_STORAGE names, which outlives it; without that a
// file that has no name and is gone with the process, but not with a reset. It behaves as flash
// does: a page is erased to FF, and a write only clears bits. SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "spk_board.h"

enum { PAGE = 4096, BYTES = 64 << 20, PIECE_MAX = 256 };

const struct spk_board_storage spk_board_storage = {BYTES, PAGE};

static int file = -1;

_Noreturn static void fail(const char *what) {
    fprintf(stderr, "storage %s: %s\n", what, strerror(errno));
    exit(3);
}

// A reset executes the program anew: the nameless file is passed on by its number.
static void open_nameless(void) {
    static const char variable[] = "SPIKELET_STORAGE_FD";
    const char *kept = getenv(variable);
    const char *folder = getenv("TMPDIR");
    char path[512], number[16];

    if (kept && (file = atoi(kept)) > STDERR_FILENO && fcntl(file, F_GETFD) >= 0) {
        return;
    }
    snprintf(path, sizeof path, "%s/spikelet-storage-XXXXXX", folder && *folder ? folder : "/tmp");
    file = mkstemp(path);
    if (file < 0) {
        fail(path);
    }
    unlink(path);
    snprintf(number, sizeof number, "%d", file);
    setenv(variable, number, 1);
}

static void open_file(void) {
    const char *path = getenv("SPIKELET_STORAGE");

    if (file >= 0) {
        return;
    }
    if (!path || !*path) {
        open_nameless();
        return;
    }
    file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0 || flock(file, LOCK_EX | LOCK_NB)) {
        fail(path);
    }
}

static int put(uint32_t offset, const uint8_t *data, uint32_t size) {
    const ssize_t n = pwrite(file, data, size, (off_t)offset);

    return n == (ssize_t)size ? 0 : n < 0 ? errno : EIO;
}

int spk_board_storage_read(uint32_t offset, void *data, uint32_t size) {
    open_file();
    memset(data, 0xFF, size); // what lies behind the file's end was never written
    if (pread(file, data, size, (off_t)offset) < 0) {
        fail("cannot be read");
    }
    return 0;
}

int spk_board_storage_erase(uint32_t offset) {
    static uint8_t page[PAGE];

    open_file();
    memset(page, 0xFF, sizeof page);
    return put(offset, page, sizeof page);
}

int spk_board_storage_write(uint32_t offset, const uint8_t *data, uint32_t size) {
    uint8_t piece[PIECE_MAX];

    if (size > sizeof piece) {
        return EINVAL;
    }
    spk_board_storage_read(offset, piece, size);
    for (uint32_t i = 0; i < size; i++) {
        piece[i] &= data[i];
    }
    return put(offset, piece, size);
}
