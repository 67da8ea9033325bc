// SiFive E, as in the FE310: its UART with 8 bytes each way, minstret as tick. The chip as QEMU has
// it cannot reset itself: a reset here is a jump to the start, which leaves devices as they are.
// SPDX-License-Identifier: Apache-2.0
#include "rv32.h"

enum {
    UART_TXDATA = 0x10013000,
    UART_RXDATA = 0x10013004,
    UART_TXCTRL = 0x10013008,
    UART_RXCTRL = 0x1001300C,
    UART_IE = 0x10013010,
    UART_DIV = 0x10013018,
    UART_ON = 1,
    UART_IE_RX = 2,
    UART_IRQ = 3,
    PLIC_PRIORITY = 0x0C000000,
    PLIC_ENABLE = 0x0C002000,
    PLIC_CLAIM = 0x0C200004,
    GPIO_IOF_EN = 0x10012038,
    GPIO_UART0 = 3 << 16,
    MIE_EXTERNAL = 1 << 11,
};

static const uint32_t uart_none = 1u << 31; // receiver: empty; transmitter: full

const struct spk_board_info spk_board_info = {
    .isa = SPK_ISA, .tick_unit = SPK_TICK_INSTRUCTION, .tick_hz = 0};

void spk_board_init(void) {
    spk_kept_begin();
    reg_write(GPIO_IOF_EN, GPIO_UART0);
    reg_write(UART_DIV, 138); // 115200 baud of 16 MHz
    reg_write(UART_TXCTRL, UART_ON);
    reg_write(UART_RXCTRL, UART_ON);
    // The receive interrupt is never taken, it only ends the sleep of spk_board_idle().
    reg_write(UART_IE, UART_IE_RX);
    reg_write(PLIC_PRIORITY + 4 * UART_IRQ, 1);
    reg_write(PLIC_ENABLE, 1u << UART_IRQ);
    __asm__ volatile("csrw mie, %0" ::"r"(MIE_EXTERNAL));
}

uint32_t spk_board_rx(uint8_t *buffer, uint32_t size) {
    uint32_t n = 0;
    while (n < size) {
        const uint32_t data = reg_read(UART_RXDATA);
        if (data & uart_none) {
            break;
        }
        buffer[n++] = (uint8_t)data;
    }
    return n;
}

void spk_board_tx(const uint8_t *buffer, uint32_t size) {
    while (size-- > 0) {
        while (reg_read(UART_TXDATA) & uart_none) {
        }
        reg_write(UART_TXDATA, *buffer++);
    }
}

void spk_board_idle(void) {
    __asm__ volatile("wfi");                     // goes on at once while the receiver holds a byte
    reg_write(PLIC_CLAIM, reg_read(PLIC_CLAIM)); // claim and complete
}

void spk_board_unique_id(uint8_t id[8]) {
    static const uint8_t name[8] = {'s', 'i', 'f', 'i', 'v', 'e', '-', 'e'};
    for (uint32_t i = 0; i < sizeof name; i++) {
        id[i] = name[i];
    }
}

_Noreturn void spk_rv32_reset(void) {
    __asm__ volatile("tail _start");
    __builtin_unreachable();
}
