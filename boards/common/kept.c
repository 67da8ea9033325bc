// Boots, reset cause, last fault and stack high-water mark: the same on every board with a RAM of
// its own. SPDX-License-Identifier: Apache-2.0
#include "kept.h"

static const uint32_t kept_magic = 0x53504B31u; // "SPK1"

struct spk_kept spk_board_kept __attribute__((section(".noinit")));

static enum spk_reset_cause reset_cause;

void spk_kept_begin(void) {
    struct spk_kept *kept = &spk_board_kept;
    if (kept->magic != kept_magic) {
        kept->magic = kept_magic;
        kept->boots = 0;
        kept->cause = SPK_RESET_POWER;
        kept->fault.cause = 0;
        kept->fault.pc = 0;
        kept->fault.address = 0;
    }
    reset_cause = (enum spk_reset_cause)kept->cause;
    kept->cause = SPK_RESET_POWER;
    kept->boots++;
}

// A reset that the firmware asked for has said its cause.
void spk_kept_watchdog(void) {
    if (reset_cause == SPK_RESET_POWER) {
        reset_cause = SPK_RESET_WATCHDOG;
        spk_board_kept.fault = (struct spk_fault){0, 0, 0};
    }
}

uint32_t spk_board_boot_id(void) {
    return spk_board_kept.boots;
}

enum spk_reset_cause spk_board_reset_cause(void) {
    return reset_cause;
}

void spk_board_last_fault(struct spk_fault *fault) {
    *fault = spk_board_kept.fault;
}

uint32_t spk_board_stack_high_water(void) {
    const uint32_t *word = __stack_bottom;
    while (word < __stack_top && *word == SPK_STACK_PAINT) {
        word++;
    }
    return (uint32_t)(__stack_top - word) * (uint32_t)sizeof *word;
}
