// A UART whose receiver interrupts: what its drivers (uart_*.c) give, and what uart.c makes of it.
// A driver is compiled with SPK_UART_BASE, SPK_UART_IRQ and SPK_UART_HZ of board.toml, and
// SPK_BAUD. SPDX-License-Identifier: Apache-2.0
#ifndef SPK_UART_H
#define SPK_UART_H

#include "core.h"
#include "spk_board.h"
#include "spk_ring.h"

extern struct spk_board_line spk_uart_line;
extern volatile uint32_t spk_irq_ticks; // of the core's counter, spent in interrupts since boot

// For boards: begins at SPK_BAUD, with its receive interrupt, and nothing counted: what came while
// nobody listened is no error of the line. The core takes no interrupts yet.
void spk_uart_start(void);

// Of the driver: the same, but for errors that its receiver has kept.
void spk_uart_open(void);

// All that the receiver holds goes into the ring, all errors that it has kept, with a byte or
// without, are counted and forgotten, and its request is cleared. SPK_RAMFUNC; interrupts are off.
void spk_uart_receive(void);

int spk_uart_accepts(void); // the transmitter has room for a byte
void spk_uart_send(uint8_t byte);
int spk_uart_has_sent(void);              // the last bit has left
uint32_t spk_uart_divisor(uint32_t baud); // the nearest
uint32_t spk_uart_rate(uint32_t divisor); // bits a second that it gives; 0: none
void spk_uart_divide(uint32_t divisor);   // sets it

// The interrupt, where the core does not count its own ticks: calls spk_uart_receive().
void spk_uart_interrupt(void);

static inline void spk_uart_received(uint8_t byte) {
    if (!spk_ring_put(byte)) {
        spk_uart_line.dropped++;
    }
}

// Divisors count in parts of a bit; what is given differs from what is asked by at most 2 %.
#define SPK_BAUD_FITS(rate, baud) ((rate) >= (baud) - (baud) / 50 && (rate) <= (baud) + (baud) / 50)

#endif
