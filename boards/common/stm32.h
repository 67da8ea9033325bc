// STM32 parts: what their boards share.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_STM32_H
#define SPK_STM32_H

#include "core.h"

// What was stored is on its way before what is stored next.
static inline void stm32_in_order(void) {
    __asm__ volatile("dsb" ::: "memory");
}

// GPIO of F2, F4, L4 and H7: a pin becomes that of alternate function `number`, as fast as it can.
static inline void stm32_pin(uint32_t port, uint32_t pin, uint32_t number) {
    const uint32_t moder = port + 0x00, ospeedr = port + 0x08;
    const uint32_t afr = port + 0x20 + pin / 8 * 4; // AFRL, AFRH

    reg_change(afr, 0xFu << pin % 8 * 4, number << pin % 8 * 4);
    reg_set(ospeedr, 3u << pin * 2);
    reg_change(moder, 3u << pin * 2, 2u << pin * 2);
}

// The 96 bits of the part's number, as eight bytes.
static inline void stm32_unique_id(uint32_t uid, uint8_t id[8]) {
    const uint32_t low = reg_read(uid) ^ reg_read(uid + 8);
    const uint32_t high = reg_read(uid + 4);

    for (uint32_t i = 0; i < 4; i++) {
        id[i] = (uint8_t)(low >> 8 * i);
        id[4 + i] = (uint8_t)(high >> 8 * i);
    }
}

#endif
