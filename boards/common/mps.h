// Arm's MPS2 and MPS3 boards: what differs from one to the other. mps.c has the rest.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_MPS_H
#define SPK_MPS_H

#include "spk_board.h"

extern const uint8_t spk_mps_id[8]; // these boards have no number of their own

#endif
