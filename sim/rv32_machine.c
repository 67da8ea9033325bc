// The inner parts of rv32_unicorn.py, called by unicorn millions of times a second: the count of
// retired instructions, the 16550 serial port and the test finisher. Everything else is Python.
//
// Paced, the serial port is one of silicon: a byte arrives every ten bits' time, whether or not
// there is room for it, and what does not fit the receive FIFO is lost. Time is instructions.
// SPDX-License-Identifier: Apache-2.0
#include <stdint.h>

enum {
    RX_BYTES = 65536,
    TX_BYTES = 65536,
    TX_FLUSH = 4096, // from here on the transmitter reports busy until the host has taken it
    IDLE_POLLS = 64, // empty polls in a row that mean: the firmware waits for a byte
    UART_DATA = 0,
    UART_IER = 1,
    UART_FCR = 2,
    UART_LCR = 3,
    UART_LSR = 5,
    LCR_DIVISOR = 0x80,
    LSR_DATA_READY = 0x01,
    LSR_OVERRUN = 0x02,
    LSR_TX_EMPTY = 0x60,
    FIFO_MOST = 64,
    SILENCE = 4,       // bytes' time after which the receiver asks for fewer than its trigger
    LOOK_EVERY = 4096, // instructions between two looks at what the host has sent
    STALL = 8,         // register behind the finisher: microseconds in which the core stands still
    FINISHER_BYTES = 4,
    EXTERNAL = 11, // interrupt of the PLIC
    MSTATUS_MIE = 1 << 3,
    MSTATUS_MPIE = 1 << 7,
    MSTATUS_MPP = 3 << 11,
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
    // Paced. Times are 256ths of an instruction; `idle` passed without one.
    uint32_t fifo_bytes; // of the receiver; 0 = not paced
    uint32_t mips;       // millions of instructions a second
    uint32_t ended;      // the host has closed the link
    int32_t link_in;     // file descriptor, not blocking
    uint64_t idle;
    uint64_t byte_time;
    uint64_t next_byte; // when the next byte of rx arrives
    uint64_t silent;    // when the receiver asks without having reached its trigger
    uint64_t tx_idle;   // when all that was sent has left
    uint64_t next_look;
    int64_t (*read)(int fd, void *to, uint64_t size);
    int (*reg_read)(void *uc, int number, void *value);
    int (*reg_write)(void *uc, int number, const void *value);
    int32_t mstatus, mie, mepc, mcause, mtvec, pc; // unicorn's numbers of registers
    uint32_t ier;
    uint32_t trigger;
    uint32_t fifo_count;
    uint32_t overrun; // LSR's bit
    uint32_t lost;    // bytes, since power-on
    uint32_t most;    // bytes that the FIFO ever held
    uint32_t taken;   // interrupts
    uint8_t fifo[FIFO_MOST];
    uint8_t rx[RX_BYTES];
    uint8_t tx[TX_BYTES];
};

uint32_t spk_machine_bytes(void);
void spk_machine_sent(struct machine *m, uint32_t bytes);
uint32_t spk_machine_wake(struct machine *m);
void spk_machine_block(void *uc, uint64_t address, uint32_t size, void *user);
uint64_t spk_machine_uart_read(void *uc, uint64_t offset, unsigned size, void *user);
void spk_machine_uart_write(void *uc, uint64_t offset, unsigned size, uint64_t value, void *user);
void spk_machine_finish(void *uc, uint64_t offset, unsigned size, uint64_t value, void *user);

uint32_t spk_machine_bytes(void) {
    return (uint32_t)sizeof(struct machine);
}

static uint64_t now(const struct machine *m) {
    return (m->retired << 8) + m->idle;
}

// Bytes whose time has come go into the FIFO, or are lost.
static void arrive(struct machine *m) {
    const uint64_t time = now(m);

    while (m->rx_head < m->rx_tail && m->next_byte <= time) {
        if (m->fifo_count < m->fifo_bytes) {
            m->fifo[m->fifo_count++] = m->rx[m->rx_head];
        } else {
            m->lost++;
            m->overrun = LSR_OVERRUN;
        }
        if (m->fifo_count > m->most) {
            m->most = m->fifo_count;
        }
        m->rx_head++;
        m->silent = m->next_byte + SILENCE * m->byte_time;
        m->next_byte += m->byte_time;
    }
}

// What the host has sent goes onto the wire.
static void look(struct machine *m) {
    if (m->rx_head < m->rx_tail || m->ended) {
        return;
    }
    const int64_t got = m->read(m->link_in, m->rx, RX_BYTES);
    if (got > 0) {
        spk_machine_sent(m, (uint32_t)got);
    }
    m->ended = got == 0;
}

// The host has put `bytes` bytes into rx, which was empty.
void spk_machine_sent(struct machine *m, uint32_t bytes) {
    const uint64_t first = now(m) + m->byte_time;

    m->rx_head = 0;
    m->rx_tail = bytes;
    if (m->next_byte < first) {
        m->next_byte = first;
    }
}

static int asks(const struct machine *m) {
    return (m->ier & 1) && m->fifo_count && (m->fifo_count >= m->trigger || now(m) >= m->silent);
}

// The core sleeps: time passes until the receiver asks. Answers 0 where nothing is under way.
uint32_t spk_machine_wake(struct machine *m) {
    for (;;) {
        arrive(m);
        if (asks(m)) {
            return 1;
        }
        uint64_t next;
        if (m->rx_head < m->rx_tail) {
            next = m->next_byte;
        } else if (m->fifo_count && (m->ier & 1)) {
            next = m->silent;
        } else {
            return 0;
        }
        m->idle += next > now(m) ? next - now(m) : 0;
    }
}

static uint32_t reg(void *uc, const struct machine *m, int number) {
    uint64_t value = 0;
    m->reg_read(uc, number, &value);
    return (uint32_t)value;
}

static void set_reg(void *uc, const struct machine *m, int number, uint32_t value) {
    const uint64_t wide = value;
    m->reg_write(uc, number, &wide);
}

// Takes the receiver's interrupt in front of the block at `address`. Answers 1 where it did.
static int interrupt(void *uc, struct machine *m, uint32_t address) {
    const uint32_t mstatus = reg(uc, m, m->mstatus);

    if (!(mstatus & MSTATUS_MIE) || !(reg(uc, m, m->mie) & 1u << EXTERNAL)) {
        return 0;
    }
    set_reg(uc, m, m->mepc, address);
    set_reg(uc, m, m->mcause, 1u << 31 | EXTERNAL);
    set_reg(uc, m, m->mstatus, (mstatus & ~(uint32_t)MSTATUS_MIE) | MSTATUS_MPIE | MSTATUS_MPP);
    set_reg(uc, m, m->pc, reg(uc, m, m->mtvec) & ~3u);
    m->taken++;
    return 1;
}

// A block is entered: count its instructions by walking their lengths, once for each block. Blocks
// of one address can differ in size (unicorn splits them), so a short one is not remembered.
void spk_machine_block(void *uc, uint64_t address, uint32_t size, void *user) {
    struct machine *m = user;
    uint32_t start = (uint32_t)address - m->code_base;
    if (m->fifo_bytes) {
        if (m->retired >= m->next_look) {
            m->next_look = m->retired + LOOK_EVERY;
            look(m);
        }
        arrive(m);
        if (asks(m) && interrupt(uc, m, (uint32_t)address)) {
            return; // the block is entered again, and counted, later
        }
    }
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

static uint64_t paced_read(void *uc, struct machine *m, uint64_t offset) {
    arrive(m);
    if (offset == UART_LSR) {
        const uint32_t state = m->overrun | (m->fifo_count ? LSR_DATA_READY : 0u);
        m->overrun = 0;
        if (m->tx_count >= TX_FLUSH) {
            leave(uc, m, STOP_TX_FULL);
            return state;
        }
        return state | (now(m) >= m->tx_idle ? LSR_TX_EMPTY : 0u);
    }
    if (offset == UART_DATA && m->fifo_count) {
        const uint8_t byte = m->fifo[0];
        m->fifo_count--;
        for (uint32_t i = 0; i < m->fifo_count; i++) {
            m->fifo[i] = m->fifo[i + 1];
        }
        return byte;
    }
    return 0;
}

static void paced_write(struct machine *m, uint64_t offset, uint32_t value) {
    static const uint8_t triggers[4] = {1, 4, 8, 14};

    if (offset == UART_IER) {
        m->ier = value;
    } else if (offset == UART_FCR) {
        m->trigger = triggers[value >> 6 & 3];
        if (m->trigger > m->fifo_bytes) {
            m->trigger = m->fifo_bytes;
        }
        m->fifo_count = 0;
    } else if (offset == UART_DATA) {
        m->tx_idle = (m->tx_idle > now(m) ? m->tx_idle : now(m)) + m->byte_time;
    }
}

uint64_t spk_machine_uart_read(void *uc, uint64_t offset, unsigned size, void *user) {
    (void)size;
    struct machine *m = user;
    if (m->fifo_bytes) {
        return paced_read(uc, m, offset);
    }
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
    if (m->fifo_bytes && !(m->lcr & LCR_DIVISOR)) {
        paced_write(m, offset, (uint32_t)value);
    }
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
    (void)size;
    struct machine *m = user;
    if (offset == STALL) {
        m->idle += (value * m->mips) << 8;
        arrive(m);
        return;
    }
    if (offset >= FINISHER_BYTES) {
        return;
    }
    m->finisher = (uint32_t)value;
    leave(uc, m, STOP_FINISHER);
}
