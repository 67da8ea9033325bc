// What a board need not give: spk_board.h says what it means that it is missing.
// SPDX-License-Identifier: Apache-2.0
#include "spk_board.h"

__attribute__((weak)) void spk_board_line(struct spk_board_line *line) {
    *line = (struct spk_board_line){0, 0, 0, 0};
}

__attribute__((weak)) uint32_t spk_board_nearest_baud(uint32_t baud) {
    (void)baud;
    return 0;
}

__attribute__((weak)) uint32_t spk_board_set_baud(uint32_t baud) {
    (void)baud;
    return 0;
}

__attribute__((weak)) void spk_board_alive(void) {
}
