// A board without a link, for what is tested below the agent: no time passes, nobody reads the log.
// SPDX-License-Identifier: Apache-2.0
#include "spk_admit.h"
#include "spk_agent.h"
#include "spk_board.h"
#include "spk_link.h"

#include <stdlib.h>

_Noreturn void spk_board_reset(void) {
    abort();
}

void spk_board_ticks_begin(void) {
}

uint32_t spk_board_ticks(void) {
    return 0;
}

void spk_board_alive(void) {
}

uint32_t spk_board_boot_id(void) {
    return 1;
}

void spk_log(const char *text) {
    (void)text;
}

uint32_t spk_agent_admitted(const struct spk_tensor *tensor, uint32_t offset, const uint8_t *data,
                            uint32_t size) {
    return spk_admitted(tensor, offset, data, size);
}
