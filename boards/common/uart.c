// The link on a UART whose receiver interrupts: the interrupt fills the ring, the transmitter is
// polled and given up when its line is stuck. SPDX-License-Identifier: Apache-2.0
#include "uart.h"

// Looks at a transmitter that takes nothing: at 10 cycles each .06 s at 160 MHz, .6 s at 16 MHz.
#ifndef SPK_TX_PATIENCE
#define SPK_TX_PATIENCE (1u << 20)
#endif

struct spk_board_line spk_uart_line;
volatile uint32_t spk_irq_ticks;

void spk_uart_start(void) {
    spk_uart_open();
    spk_uart_receive();
    spk_uart_line = (struct spk_board_line){0, 0, 0, 0};
}

SPK_RAMFUNC void spk_uart_interrupt(void) {
    const uint32_t before = spk_core_ticks();

    spk_uart_receive();
    spk_irq_ticks += spk_core_ticks() - before;
}

// What interrupts took is not the model's. None comes between the two looks: to look again would be
// counted where it ends an interval.
uint32_t spk_board_ticks(void) {
    irq_off();
    const uint32_t spent = spk_irq_ticks;
    const uint32_t ticks = spk_core_ticks();
    irq_on();
    return ticks - spent;
}

// The emulator that needs no installation has no interrupts. Elsewhere this finds nothing, or what
// an interrupt is about to bring.
uint32_t spk_board_rx(uint8_t *buffer, uint32_t size) {
    (void)buffer;
    (void)size;
    irq_off();
    spk_uart_receive();
    irq_on();
    return 0;
}

void spk_board_tx(const uint8_t *buffer, uint32_t size) {
    for (; size; size--) {
        for (uint32_t left = SPK_TX_PATIENCE; !spk_uart_accepts();) {
            if (--left == 0) {
                spk_uart_line.stuck++;
                return;
            }
        }
        spk_uart_send(*buffer++);
    }
}

void spk_board_idle(void) {
    irq_off();
    spk_uart_receive();
    if (spk_ring_used() == 0) {
        core_sleep();
    }
    irq_on();
}

void spk_board_line(struct spk_board_line *line) {
    *line = spk_uart_line;
}

uint32_t spk_board_nearest_baud(uint32_t baud) {
    return spk_uart_rate(spk_uart_divisor(baud));
}

uint32_t spk_board_set_baud(uint32_t baud) {
    const uint32_t divisor = spk_uart_divisor(baud);
    const uint32_t rate = spk_uart_rate(divisor);

    if (!SPK_BAUD_FITS(rate, baud)) {
        return 0;
    }
    for (uint32_t left = SPK_TX_PATIENCE; left && !spk_uart_has_sent(); left--) {
    }
    irq_off();
    spk_uart_divide(divisor);
    irq_on();
    return rate;
}
