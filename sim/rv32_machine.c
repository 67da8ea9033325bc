// The inner parts of rv32_unicorn.py, called by unicorn millions of times a second: the count of
// retired instructions, the 16550 serial port and the test finisher. Everything else is Python.
// SPDX-License-Identifier: Apache-2.0
#include <stdint.h>

enum {
    RX_BYTES = 65536,
    TX_BYTES = 65536,
    TX_FLUSH = 4096, // from here on the transmitter reports busy until the host has taken it
    IDLE_POLLS = 64, // empty polls in a row that mean: the firmware waits for a byte
    UART_DATA = 0,
    UART_LCR = 3,
    UART_LSR = 5,
    LCR_DIVISOR = 0x80,
    LSR_DATA_READY = 0x01,
    LSR_TX_EMPTY = 0x60,
};

enum stop { STOP_NONE = 0, STOP_POLL = 1, STOP_TX_FULL = 2, STOP_FINISHER = 3 };

// Python holds the same layout as `_Machine`.
struct machine {
    uint64_t retired;    // instructions since power-on; firmware reads it in place of minstret
    const uint8_t *code; // (code_bytes,) flash
    uint16_t *lengths; // (code_bytes / 2,) instructions of the block that starts there; 0 = unknown
    int (*emu_stop)(void *uc);
    uint32_t code_base;
    uint32_t code_bytes;
    uint32_t stop; // enum stop: why emulation was left
    uint32_t finisher;
    uint32_t polls;
    uint32_t lcr;
    uint32_t rx_head; // next byte for the firmware
    uint32_t rx_tail;
    uint32_t tx_count;
    uint8_t rx[RX_BYTES];
    uint8_t tx[TX_BYTES];
};

uint32_t spk_machine_bytes(void);
void spk_machine_block(void *uc, uint64_t address, uint32_t size, void *user);
uint64_t spk_machine_uart_read(void *uc, uint64_t offset, unsigned size, void *user);
void spk_machine_uart_write(void *uc, uint64_t offset, unsigned size, uint64_t value, void *user);
void spk_machine_finish(void *uc, uint64_t offset, unsigned size, uint64_t value, void *user);

uint32_t spk_machine_bytes(void) {
    return (uint32_t)sizeof(struct machine);
}

// A block is entered: count its instructions by walking their lengths, once for each block. Blocks
// of one address can differ in size (unicorn splits them), so a short one is not remembered.
void spk_machine_block(void *uc, uint64_t address, uint32_t size, void *user) {
    (void)uc;
    struct machine *m = user;
    uint32_t start = (uint32_t)address - m->code_base;
    if (start >= m->code_bytes || size > m->code_bytes - start) {
        return; // nothing else is executable
    }
    uint16_t *known = &m->lengths[start / 2];
    if (*known == 0 || (uint32_t)(*known >> 8) * 2 != size) {
        uint32_t n = 0;
        for (uint32_t i = start; i < start + size; n++) {
            i += (m->code[i] & 3) == 3 ? 4 : 2;
        }
        if (size >= 512 || n >= 256) {
            m->retired += n;
            return;
        }
        *known = (uint16_t)(size / 2 << 8 | n);
    }
    m->retired += *known & 0xFF;
}

static void leave(void *uc, struct machine *m, enum stop why) {
    m->stop = why;
    m->emu_stop(uc);
}

uint64_t spk_machine_uart_read(void *uc, uint64_t offset, unsigned size, void *user) {
    (void)size;
    struct machine *m = user;
    if (offset == UART_LSR) {
        if (m->tx_count >= TX_FLUSH) {
            leave(uc, m, STOP_TX_FULL);
            return m->rx_head < m->rx_tail ? LSR_DATA_READY : 0;
        }
        if (m->rx_head < m->rx_tail) {
            m->polls = 0;
            return LSR_TX_EMPTY | LSR_DATA_READY;
        }
        if (++m->polls >= IDLE_POLLS) {
            m->polls = 0;
            leave(uc, m, STOP_POLL);
        }
        return LSR_TX_EMPTY;
    }
    if (offset == UART_DATA && m->rx_head < m->rx_tail) {
        return m->rx[m->rx_head++];
    }
    return 0;
}

void spk_machine_uart_write(void *uc, uint64_t offset, unsigned size, uint64_t value, void *user) {
    (void)uc;
    (void)size;
    struct machine *m = user;
    if (offset == UART_LCR) {
        m->lcr = (uint32_t)value;
    } else if (offset == UART_DATA && !(m->lcr & LCR_DIVISOR)) {
        m->polls = 0;
        if (m->tx_count < TX_BYTES) { // a sender that ignores the status loses bytes, as on silicon
            m->tx[m->tx_count++] = (uint8_t)value;
        }
    }
}

void spk_machine_finish(void *uc, uint64_t offset, unsigned size, uint64_t value, void *user) {
    (void)offset;
    (void)size;
    struct machine *m = user;
    m->finisher = (uint32_t)value;
    leave(uc, m, STOP_FINISHER);
}
