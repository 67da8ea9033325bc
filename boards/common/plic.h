// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_PLIC_H
#define SPK_PLIC_H

void spk_plic_start(void); // the UART, whose receiver has begun, may interrupt

#endif
