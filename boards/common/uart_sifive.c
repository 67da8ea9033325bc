// SiFive's UART (FE310-G002 manual, chapter 18): 8 bytes each way, no error flags. SPK_UART_BASE;
// SPK_UART_HZ is tlclk, the core's clock. SPDX-License-Identifier: Apache-2.0
#include "uart.h"

enum {
    TXDATA = SPK_UART_BASE + 0x00,
    RXDATA = SPK_UART_BASE + 0x04,
    TXCTRL = SPK_UART_BASE + 0x08,
    RXCTRL = SPK_UART_BASE + 0x0C,
    IE = SPK_UART_BASE + 0x10,
    IP = SPK_UART_BASE + 0x14,
    DIV = SPK_UART_BASE + 0x18,
    TXCTRL_ON = 1,
    TXCTRL_EMPTY = 1 << 16, // txcnt = 1: IP's txwm says that fewer than one byte waits
    RXCTRL_ON = 1,          // rxcnt = 0: IP's rxwm says that more than no byte is there
    IP_TXWM = 1,
    IE_RXWM = 2,
};

static const uint32_t none = 1u << 31; // RXDATA: empty; TXDATA: full

void spk_uart_open(void) {
    spk_uart_divide(spk_uart_divisor(SPK_BAUD));
    reg_write(TXCTRL, TXCTRL_ON | TXCTRL_EMPTY);
    reg_write(RXCTRL, RXCTRL_ON);
    reg_write(IE, IE_RXWM);
}

SPK_RAMFUNC void spk_uart_receive(void) {
    for (;;) {
        const uint32_t data = reg_read(RXDATA);
        if (data & 1u << 31) {
            return;
        }
        spk_uart_received((uint8_t)data);
    }
}

int spk_uart_accepts(void) {
    return !(reg_read(TXDATA) & none);
}

void spk_uart_send(uint8_t byte) {
    reg_write(TXDATA, byte);
}

// The byte in the shift register is not seen: its time passes, two bits more.
int spk_uart_has_sent(void) {
    if (!(reg_read(IP) & IP_TXWM)) {
        return 0;
    }
    for (volatile uint32_t left = 12 * (reg_read(DIV) + 1) / 4; left; left--) {
    }
    return 1;
}

// DIV is tlclk's cycles a bit, less one.
uint32_t spk_uart_divisor(uint32_t baud) {
    const uint32_t cycles = baud ? (SPK_UART_HZ + baud / 2) / baud : 0;

    return cycles >= 16 && cycles <= 0x10000 ? cycles - 1 : 0;
}

uint32_t spk_uart_rate(uint32_t divisor) {
    return divisor ? SPK_UART_HZ / (divisor + 1) : 0;
}

void spk_uart_divide(uint32_t divisor) {
    reg_write(DIV, divisor);
}
