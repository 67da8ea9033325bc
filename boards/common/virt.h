// QEMU's `virt` machine: what differs from core to core. virt.c has the rest.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_VIRT_H
#define SPK_VIRT_H

#include "rv32.h"

extern const uint8_t spk_virt_id[8]; // the machine has no number of its own

#endif
