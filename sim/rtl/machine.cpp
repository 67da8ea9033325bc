// A core in Verilog with memory, a serial port and a timer around it. Link bytes on standard input
// and output.
//
//     machine IMAGE.elf --flash BASE:BYTES:WAIT --ram BASE:BYTES:WAIT [--storage BASE:BYTES:WAIT]
//     [--stats]
//
// Each memory has one port: it takes a new access 1 + WAIT cycles after the last one, and answers
// as late. Data goes before instructions. The core is module spk_core of the board's core.sv, made
// C++ by Verilator. SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <poll.h>
#include <string>
#include <unistd.h>
#include <vector>

#include "Vcore.h"
#include "verilated.h"

namespace {

constexpr uint32_t BOOT = 0x1000; // a ROM of one jump, where cores start
constexpr uint32_t BOOT_BYTES = 0x100;
constexpr uint32_t START = 0x80;           // of the jump: Ibex starts there
constexpr uint32_t UART_DATA = 0x10000000; // read: a byte, or UART_NONE; write: send a byte
constexpr uint32_t UART_WAIT =
    0x10000004; // a read is answered when a byte is there: time stands still
constexpr uint32_t UART_NONE = 0x80000000;
constexpr uint32_t TIMER_LOW = 0x10001000; // cycles since power on
constexpr uint32_t TIMER_HIGH = 0x10001004;
constexpr uint32_t RESET = 0x10002000;
constexpr uint32_t RESET_WORD = 0x7777;
constexpr uint32_t BAD_ADDRESS = 0x10003000; // of the last access that failed
constexpr uint32_t RESET_CYCLES = 8;
constexpr size_t LINK_BYTES = 65536;

[[noreturn]] void fail(const std::string &what) {
    std::fprintf(stderr, "machine: %s\n", what.c_str());
    std::exit(3);
}

// Memory at `base`; `free_at` is the first cycle at which it takes another access.
struct Memory {
    uint32_t base = 0;
    uint32_t wait = 0;
    bool writable = false;
    std::vector<uint8_t> bytes;
    uint64_t free_at = 0;

    bool holds(uint32_t address) const {
        return address >= base && address - base < bytes.size();
    }
};

// One of the core's two ports: the access that is under way, answered at `due`.
struct Port {
    uint64_t due = 0;
    uint32_t data = 0;
    bool active = false;
    bool error = false;
};

class Link {
  public:
    bool empty() {
        if (head_ == tail_) {
            receive(0);
        }
        return head_ == tail_;
    }

    uint8_t take() {
        return rx_[head_++];
    }

    void send(uint8_t byte) {
        tx_[sent_++] = byte;
        if (sent_ == LINK_BYTES) {
            flush();
        }
    }

    void flush() {
        for (size_t at = 0; at < sent_;) {
            const ssize_t n = write(STDOUT_FILENO, tx_ + at, sent_ - at);
            if (n > 0) {
                at += static_cast<size_t>(n);
            } else if (errno == EAGAIN) {
                pollfd out{STDOUT_FILENO, POLLOUT, 0};
                poll(&out, 1, -1);
            } else if (errno != EINTR) {
                ended = true; // nobody listens any more
                break;
            }
        }
        sent_ = 0;
    }

    // Waits at most `ms` milliseconds for bytes, forever with -1.
    void receive(int ms) {
        flush();
        pollfd in{STDIN_FILENO, POLLIN, 0};
        if (ended || poll(&in, 1, ms) <= 0) {
            return;
        }
        const ssize_t n = read(STDIN_FILENO, rx_, LINK_BYTES);
        if (n > 0) {
            head_ = 0;
            tail_ = static_cast<size_t>(n);
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            ended = true;
        }
    }

    bool ended = false;

  private:
    uint8_t rx_[LINK_BYTES];
    uint8_t tx_[LINK_BYTES];
    size_t head_ = 0;
    size_t tail_ = 0;
    size_t sent_ = 0;
};

class Machine {
  public:
    explicit Machine(std::vector<Memory> memories) : memories_(std::move(memories)) {
        core_.boot = BOOT;
    }

    // Puts the image's loadable parts into memory and the jump to its entry into the ROM.
    void load(const char *path);

    void run() {
        reset();
        while (!link_.ended) {
            cycle();
            if (reset_asked_) {
                reset();
            }
        }
    }

    uint64_t cycles() const {
        return now_;
    }

  private:
    void reset();
    void cycle();
    Memory *memory_at(uint32_t address);
    bool takes(const Port &port, uint32_t address);
    void access(Port &port, uint32_t address, bool write, uint32_t data, uint32_t lanes,
                bool fetch);
    bool device(uint32_t address, bool write, uint32_t &data);

    Vcore core_;
    std::vector<Memory> memories_; // the ROM is the last
    Port instr_;
    Port data_;
    Link link_;
    uint64_t now_ = 0;
    uint32_t bad_address_ = 0;
    bool reset_asked_ = false;
};

// A core is reset by an edge: high, low for some cycles, high.
void Machine::reset() {
    reset_asked_ = false;
    instr_ = data_ = Port{};
    core_.instr_gnt = core_.instr_rvalid = core_.data_gnt = core_.data_rvalid = 0;
    core_.bus_fault = 0;
    core_.clk = 0;
    core_.reset_n = 1;
    core_.eval();
    core_.reset_n = 0;
    for (uint32_t i = 0; i < RESET_CYCLES; i++) {
        core_.clk = 0;
        core_.eval();
        core_.clk = 1;
        core_.eval();
    }
    core_.clk = 0;
    core_.eval();
    core_.reset_n = 1;
}

Memory *Machine::memory_at(uint32_t address) {
    for (Memory &memory : memories_) {
        if (memory.holds(address)) {
            return &memory;
        }
    }
    return nullptr;
}

bool Machine::takes(const Port &port, uint32_t address) {
    const Memory *memory = memory_at(address);
    return (!port.active || port.due <= now_) && (memory == nullptr || memory->free_at <= now_);
}

void Machine::cycle() {
    const bool instr_due = instr_.active && instr_.due == now_;
    const bool data_due = data_.active && data_.due == now_;
    core_.clk = 0;
    core_.instr_rvalid = instr_due;
    core_.data_rvalid = data_due;
    core_.instr_rdata = instr_.data;
    core_.data_rdata = data_.data;
    core_.instr_err = instr_due && instr_.error;
    core_.data_err = data_due && data_.error;
    // Granted as long as nothing says otherwise: a second evaluation is for the cycles of a clash.
    core_.instr_gnt = core_.data_gnt = 1;
    core_.eval();
    const bool data_granted = core_.data_req && takes(data_, core_.data_addr);
    bool instr_granted = core_.instr_req && takes(instr_, core_.instr_addr);
    if (instr_granted && data_granted) {
        const Memory *memory = memory_at(core_.instr_addr);
        instr_granted = memory == nullptr || memory != memory_at(core_.data_addr);
    }
    if ((core_.data_req && !data_granted) || (core_.instr_req && !instr_granted)) {
        core_.data_gnt = data_granted;
        core_.instr_gnt = instr_granted;
        core_.eval();
    }
    instr_.active = instr_.active && !instr_due;
    data_.active = data_.active && !data_due;
    if (data_granted) {
        access(data_, core_.data_addr, core_.data_we, core_.data_wdata, core_.data_be, false);
    }
    if (instr_granted) {
        access(instr_, core_.instr_addr, false, 0, 0, true);
    }
    core_.clk = 1;
    core_.eval();
    now_++;
}

void Machine::access(Port &port, uint32_t address, bool write, uint32_t data, uint32_t lanes,
                     bool fetch) {
    address &= ~3u;
    Memory *memory = memory_at(address);
    port.active = true;
    port.due = now_ + 1;
    port.error = false;
    port.data = 0;
    if (memory == nullptr) {
        port.data = data;
        port.error = fetch || !device(address, write, port.data);
    } else {
        port.due += memory->wait;
        memory->free_at = port.due;
        uint8_t *at = memory->bytes.data() + (address - memory->base);
        if (!write) {
            std::memcpy(&port.data, at, sizeof port.data);
        } else if (memory->writable) {
            for (uint32_t lane = 0; lane < 4; lane++) {
                if (lanes >> lane & 1) {
                    at[lane] = static_cast<uint8_t>(data >> 8 * lane);
                }
            }
        } else {
            port.error = true;
        }
    }
    if (port.error && !fetch) {
        core_.bus_fault = 1; // until the reset that follows
        bad_address_ = address;
    }
}

// Reads or writes a device's register; false where there is none.
bool Machine::device(uint32_t address, bool write, uint32_t &data) {
    switch (address) {
    case UART_DATA:
        if (write) {
            link_.send(static_cast<uint8_t>(data));
        } else {
            data = link_.empty() ? UART_NONE : link_.take();
        }
        return true;
    case UART_WAIT:
        while (!write && link_.empty() && !link_.ended) {
            link_.receive(-1);
        }
        return true;
    case TIMER_LOW:
        data = static_cast<uint32_t>(now_);
        return true;
    case TIMER_HIGH:
        data = static_cast<uint32_t>(now_ >> 32);
        return true;
    case RESET:
        reset_asked_ = write && data == RESET_WORD;
        return true;
    case BAD_ADDRESS:
        data = bad_address_;
        return true;
    default:
        return false;
    }
}

uint32_t half(const std::vector<uint8_t> &file, size_t at) {
    return at + 2 <= file.size() ? static_cast<uint32_t>(file[at] | file[at + 1] << 8) : 0;
}

uint32_t word(const std::vector<uint8_t> &file, size_t at) {
    return half(file, at) | half(file, at + 2) << 16;
}

void Machine::load(const char *path) {
    std::vector<uint8_t> file;
    FILE *stream = std::fopen(path, "rb");
    if (stream == nullptr) {
        fail(std::string("cannot read ") + path + ": " + std::strerror(errno));
    }
    uint8_t piece[4096];
    for (size_t n; (n = std::fread(piece, 1, sizeof piece, stream)) > 0;) {
        file.insert(file.end(), piece, piece + n);
    }
    std::fclose(stream);
    constexpr uint32_t ELF = 0x464C457F, RISCV = 243, PT_LOAD = 1;
    if (word(file, 0) != ELF || file.size() < 52 || file[4] != 1 || half(file, 18) != RISCV) {
        fail(std::string(path) + " is not an image for 32-bit RISC-V");
    }
    const uint32_t entry = word(file, 24), table = word(file, 28);
    const uint32_t entry_bytes = half(file, 42), entries = half(file, 44);
    for (uint32_t i = 0; i < entries; i++) {
        const size_t at = size_t{table} + size_t{i} * entry_bytes;
        const uint32_t offset = word(file, at + 4), to = word(file, at + 12);
        const uint32_t bytes = word(file, at + 16);
        if (word(file, at) != PT_LOAD || bytes == 0) {
            continue;
        }
        Memory *memory = memory_at(to);
        if (memory == nullptr || memory->bytes.size() - (to - memory->base) < bytes ||
            size_t{offset} + bytes > file.size()) {
            fail(std::string(path) + ": a part lies outside of the file or of memory");
        }
        std::memcpy(memory->bytes.data() + (to - memory->base), file.data() + offset, bytes);
    }
    Memory rom;
    rom.base = BOOT;
    rom.bytes.resize(BOOT_BYTES);
    // lui t0, %hi(entry); jalr zero, %lo(entry)(t0)
    const uint32_t code[2] = {((entry + 0x800) & 0xFFFFF000) | 5u << 7 | 0x37,
                              (entry & 0xFFF) << 20 | 5u << 15 | 0x67};
    std::memcpy(rom.bytes.data() + START, code, sizeof code);
    memories_.push_back(rom);
}

// BASE:BYTES:WAIT
Memory region(const char *text, bool writable) {
    uint32_t numbers[3];
    char *at = const_cast<char *>(text);
    for (uint32_t &number : numbers) {
        number = static_cast<uint32_t>(std::strtoul(at, &at, 0));
        at += *at == ':';
    }
    if (*at != '\0' || numbers[1] == 0 || (numbers[0] | numbers[1]) % 4 != 0) {
        fail(std::string(text) + " is not BASE:BYTES:WAIT of whole words");
    }
    Memory memory;
    memory.base = numbers[0];
    memory.wait = numbers[2];
    memory.writable = writable;
    memory.bytes.resize(numbers[1]);
    return memory;
}

} // namespace

int main(int argc, char **argv) {
    std::vector<Memory> memories;
    const char *image = nullptr;
    bool stats = false;
    for (int i = 1; i < argc; i++) {
        const std::string option = argv[i];
        const bool flash = option == "--flash";
        if (option == "--stats") {
            stats = true;
        } else if ((flash || option == "--ram" || option == "--storage") && i + 1 < argc) {
            memories.push_back(region(argv[++i], !flash));
        } else if (image == nullptr && option[0] != '-') {
            image = argv[i];
        } else {
            fail("unknown argument " + option);
        }
    }
    if (image == nullptr) {
        fail("no image");
    }
    static Machine machine(std::move(memories));
    machine.load(image);
    machine.run();
    if (stats) {
        std::fprintf(stderr, "machine: %llu cycles\n",
                     static_cast<unsigned long long>(machine.cycles()));
    }
    return 0;
}
