// The device's receive path under anything: garbage, frames with a wrong CRC, sealed frames with
// random contents, and requests that are nearly right. Checked after each: the answer is a good
// frame that fits the request, tensors change only where a PUT or RUN was allowed to change them, a
// PUT is refused for its values exactly when the tensor may not hold them, and CONSTANTS has the
// CRC of the bytes that were asked for. With SPK_LEARN also: what is learned stays in its range,
// nothing runs on an upload that is not accepted, and a new session, a reset, a RESTORE or a
// refused upload finds the last committed model, whatever the storage did.
//   fuzz_link COUNT [SEED]   counts of answers by type and status; 1 when a rule is broken
// With SPK_LIBFUZZER defined it is a libFuzzer target instead.
// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spk_agent.h"
#include "spk_board.h"
#include "spk_link.h"
#include "spk_model.h"

#ifdef SPK_LEARN
#include "flash.h"
#include "spk_storage.h"
#endif

#ifdef SPK_SIGNED
#define REFUSED SPK_STATUS_SIGNATURE // of what the agent does not know
enum { TYPES = SPK_TYPE_SIGNED_PUT + 1 };
#else
#define REFUSED SPK_STATUS_BAD_TYPE
enum { TYPES = SPK_TYPE_WORKING + 1 };
#endif
enum { OUT_MAX = 4096, SHADOW_MAX = 8192, STATUSES = SPK_STATUS_OLD + 1 };

const struct spk_board_info spk_board_info = {"fuzz", SPK_TICK_US, 1000000};

static const uint8_t *input;
static uint32_t input_size;
static uint8_t output[OUT_MAX];
static uint32_t output_size;
static uint32_t boots;
static jmp_buf at_reset;
static uint64_t seen[TYPES][STATUSES + 1]; // answers; the last column: no answer

static struct {
    uint32_t frames;
    uint8_t type, seq, ack, credit, status;
    uint32_t session; // its nonce; 0 = none
    uint32_t word;    // the first after the status
} answer;             // the last one that is not a LOG
static uint8_t shadow[SHADOW_MAX];

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

uint32_t spk_board_rx(uint8_t *buffer, uint32_t size) {
    const uint32_t n = size < input_size ? size : input_size;
    if (n) {
        memcpy(buffer, input, n);
        input += n;
        input_size -= n;
    }
    return n;
}

void spk_board_tx(const uint8_t *buffer, uint32_t size) {
    CHECK(size <= OUT_MAX - output_size);
    memcpy(output + output_size, buffer, size);
    output_size += size;
}

void spk_board_init(void) {
}

void spk_board_idle(void) {
}

uint32_t spk_board_ticks(void) {
    static uint32_t us;

    return us += 100000; // a rate that nobody confirms is soon given up
}

uint32_t spk_board_nearest_baud(uint32_t baud) {
    return baud < 1000000 ? baud : 1000000;
}

uint32_t spk_board_set_baud(uint32_t baud) {
    CHECK(baud && baud - baud / 50 <= 1000000);
    return baud;
}

uint32_t spk_board_boot_id(void) {
    return boots;
}

void spk_board_unique_id(uint8_t id[8]) {
    memset(id, 7, 8);
}

enum spk_reset_cause spk_board_reset_cause(void) {
    return SPK_RESET_POWER;
}

void spk_board_last_fault(struct spk_fault *fault) {
    memset(fault, 0, sizeof *fault);
}

uint32_t spk_board_stack_high_water(void) {
    return 0;
}

_Noreturn void spk_board_reset(void) {
    longjmp(at_reset, 1);
}

#include "fuzz_same.h"
#include "fuzz_wire.h"
// In this order: it uses those above.
#include "fuzz_names.h"

static void read_answer(const uint8_t *piece, uint32_t size) {
    uint8_t plain[OUT_MAX];
    const int n = cobs_decode(piece, size, plain);

    CHECK(n >= 9 && n <= SPK_FRAME_MAX);
    CHECK(crc_of(plain, (uint32_t)n - 4) == spk_load32(plain + n - 4));
    CHECK(plain[0] & SPK_TYPE_REPLY);
    const uint8_t status = plain[4];
    CHECK(status < STATUSES);
    CHECK(status == SPK_STATUS_OK || n == 13);
    const uint32_t type = plain[0] & 0x3F;
    if (type == SPK_TYPE_LOG && status == SPK_STATUS_OK) {
        return;
    }
    if (type == SPK_TYPE_WORKING && status == SPK_STATUS_OK) { // before the answer to a commit
        CHECK(answer.frames == 0);
        return;
    }
    answer.frames++;
    answer.type = plain[0];
    answer.seq = plain[1];
    answer.credit = plain[3];
    answer.status = status;
    answer.word = n >= 13 ? spk_load32(plain + 5) : 0;
    // A kept reply that is sent again says what came next when it was made.
    const int opens = type == SPK_TYPE_HELLO && !status && answer.word != answer.session;
    if (opens || answer.credit == 0 || (uint8_t)(plain[2] - answer.ack) < 128) {
        answer.ack = plain[2];
    }
    if (opens || answer.credit == 0) {
        answer.session = opens ? answer.word : 0;
    }
    seen[type < TYPES ? type : 0][status]++;
}

static void read_answers(void) {
    uint32_t start = 0;
    for (uint32_t i = 0; i < output_size; i++) {
        if (output[i] == 0) {
            if (i > start) {
                read_answer(output + start, i - start);
            }
            start = i + 1;
        }
    }
    CHECK(start == output_size); // nothing behind the last delimiter
    output_size = 0;
}

#ifdef SPK_LEARN
#include "fuzz_learning.h"
#endif

// Whether a host may have the tensor hold what lies at `at`: said by name, not by the table.
static int holds(const struct spk_tensor *tensor, const uint8_t *at) {
    if (named(tensor, GATE)) {
        return spk_load32(at + 4) >> 8 == 0; // padding bits
    }
#ifdef SPK_LEARN
    if (named(tensor, REAL)) { // which learning may take to infinity
        return finite(at) && finite(at + 4) && finite(at + 8);
    }
    return holds_learned(tensor, at);
#else
    return 1;
#endif
}

static void check_tensors(void) {
    for (uint32_t i = 0; i < spk_model.tensor_count; i++) {
        const struct spk_tensor *tensor = &spk_model.tensors[i];
        if (named(tensor, BOMB)) {
            ((uint32_t *)tensor->data)[1] = 0; // idle loops: a fuzzer would only wait for them
        }
        CHECK(named(tensor, REAL) || holds(tensor, tensor->data));
    }
}

static void boot(void) {
    boots++;
    answer.session = 0;
    spk_agent_boot();
#ifdef SPK_LEARN
    if (boots == 1) {
        generation = spk_stored()->generation;
        learned(committed);
    }
    take_over();
    check_committed();
#endif
}

static void feed(const uint8_t *data, uint32_t size) {
    input = data;
    input_size = size;
    answer.frames = 0;
    if (setjmp(at_reset)) {
        read_answers();
        boot();
    }
    while (spk_agent_poll()) {
        read_answers();
        check_tensors();
    }
    read_answers();
}

static uint32_t seal(uint8_t *wire, uint8_t type, uint8_t seq, const uint8_t *payload, uint32_t n) {
    static uint8_t plain[OUT_MAX];

    CHECK(n <= OUT_MAX - 8);
    plain[0] = type;
    plain[1] = seq;
    memcpy(plain + 4, payload, n);
    spk_store(plain + 4 + n, crc_of(plain, 4 + n), 4);
    wire[0] = 0;
    const uint32_t size = 1 + cobs_encode(plain, 8 + n, wire + 1);
    wire[size] = 0;
    return size + 1;
}

static uint32_t shadow_tensors(void) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < spk_model.tensor_count; i++) {
        CHECK(spk_model.tensors[i].bytes <= SHADOW_MAX - n);
        memcpy(shadow + n, spk_model.tensors[i].data, spk_model.tensors[i].bytes);
        n += spk_model.tensors[i].bytes;
    }
    return n;
}

// Tensors are as they were, but for what an accepted PUT wrote.
static void check_shadow(uint8_t type, const uint8_t *payload, uint32_t n) {
    uint32_t at = 0;
    for (uint32_t i = 0; i < spk_model.tensor_count; i++) {
        const struct spk_tensor *tensor = &spk_model.tensors[i];
        if (type == SPK_TYPE_TENSOR_PUT && answer.status == SPK_STATUS_OK &&
            spk_load16(payload) == i) {
            memcpy(shadow + at + spk_load32(payload + 2), payload + 6, n - 6);
#ifdef SPK_LEARN
            CHECK(!named(tensor, LABEL));
            CHECK(tensor->kind != SPK_OUTPUT && tensor->kind != SPK_ACTIVATION);
            CHECK(tensor->kind != SPK_DIGESTS);
#ifdef SPK_SIGNED
            CHECK(tensor->kind != SPK_LEARNED);
#endif
#else
            CHECK(tensor->kind == SPK_INPUT || tensor->kind == SPK_STATE);
#endif
        }
        if (named(tensor, BOMB)) {
            memset(shadow + at + 4, 0, 4);
        }
        // In a trace build "zero" lies on the first element of "mix".
        if (!named(tensor, ZERO)) {
            CHECK(same(shadow + at, tensor->data, tensor->bytes));
        }
        at += tensor->bytes;
    }
}

// Of a PUT that was served or is out of range: which of the two it had to be. Zero is a value of
// every tensor.
static void check_put(const uint8_t *payload, uint32_t n) {
    static const uint8_t bytes_of[] = {
        [SPK_BIT] = 1, [SPK_I8] = 1,  [SPK_U8] = 1,  [SPK_I16] = 2,
        [SPK_F16] = 2, [SPK_I32] = 4, [SPK_U32] = 4, [SPK_F32] = 4,
    };
    static uint8_t held[SHADOW_MAX];
    const struct spk_tensor *tensor = &spk_model.tensors[spk_load16(payload)];
    const uint32_t offset = spk_load32(payload + 2), element = bytes_of[tensor->dtype];
    int good = offset <= tensor->bytes && n - 6 <= tensor->bytes - offset;

    if (good && n > 6) { // nothing is good anywhere
        memset(held, 0, tensor->bytes);
        memcpy(held + offset, payload + 6, n - 6);
        good = offset % element == 0 && (n - 6) % element == 0 && holds(tensor, held);
    }
    CHECK(good == (answer.status == SPK_STATUS_OK));
}

static void check_constants(const uint8_t *payload) {
    static uint8_t bytes[SHADOW_MAX];
    const uint32_t first = spk_load32(payload + 4), size = spk_load32(payload + 8);
    const uint32_t all = spk_model.constant_bytes;
    uint32_t crc = spk_load32(payload), n = 0;

    CHECK((first <= all && size <= all) == (answer.status == SPK_STATUS_OK));
    if (answer.status == SPK_STATUS_OK) {
        for (uint32_t i = 0; i < spk_model.constant_count; i++) {
            memcpy(bytes + n, spk_model.constants[i].data, spk_model.constants[i].bytes);
            n += spk_model.constants[i].bytes;
        }
        CHECK(n == all);
        for (uint32_t i = 0; i < size; i++) {
            crc = crc_on(crc, &bytes[(first + i) % all], 1);
        }
        CHECK(answer.word == crc);
    }
}

// One request in its turn: exactly one answer, of its number and type.
static void request(uint8_t type, uint8_t seq, const uint8_t *payload, uint32_t n) {
    uint8_t wire[2 * OUT_MAX];
    const uint32_t boots_before = boots;

    shadow_tensors();
    feed(wire, seal(wire, type, seq, payload, n));
    if (type & SPK_TYPE_REPLY) {
        CHECK(answer.frames == 0);
        return;
    }
    if (n > SPK_LINK_PAYLOAD || boots != boots_before) {
        return; // not a frame; or the model reset the device in a step
    }
    CHECK(answer.frames == 1);
    CHECK(answer.seq == seq && (answer.type & 0xBF) == ((type | 0x80) & 0xBF));
    if (type != SPK_TYPE_RUN && type != SPK_TYPE_LEARN_STATE &&
        (type != SPK_TYPE_LEARN || answer.status != SPK_STATUS_OK)) {
        check_shadow(type, payload, n);
    }
    if (answer.status == SPK_STATUS_SIGNATURE || answer.status == SPK_STATUS_OLD ||
        (type == SPK_TYPE_LEARN_STATE && n && payload[0] == SPK_LEARN_ACCEPT_SIGNED &&
         answer.status)) {
        check_shadow(type, payload, n); // what is refused changes nothing
    }
    if (answer.status == SPK_STATUS_OK || answer.status == SPK_STATUS_RANGE) {
        if (type == SPK_TYPE_TENSOR_PUT) {
            check_put(payload, n);
        } else if (type == SPK_TYPE_CONSTANTS) {
            check_constants(payload);
        }
    }
#ifdef SPK_LEARN
    check_learning(type, payload, n);
#endif
}

#ifdef SPK_LIBFUZZER

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// The first byte chooses: raw bytes, or records (type, length, payload) that are sealed for it.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t hello[8] = {1, 2, 3, 4, SPK_PROTOCOL, SPK_PROTOCOL, 0, 0};

    if (size < 1) {
        return 0;
    }
    for (uint32_t i = 0; i < spk_model.tensor_count; i++) {
        memset(spk_model.tensors[i].data, 0, spk_model.tensors[i].bytes);
    }
#ifdef SPK_LEARN
    memset(flash, 0xFF, sizeof flash);
    boots = 0;
#endif
    boot();
    request(SPK_TYPE_HELLO, 0, hello, sizeof hello);
    if (data[0] & 1) {
        feed(data + 1, (uint32_t)size - 1);
        return 0;
    }
    const uint8_t *end = data + size;
    for (data++; end - data >= 2;) {
        const uint8_t type = data[0];
        uint32_t n = data[1];
        data += 2;
        if (n > (uint32_t)(end - data)) {
            n = (uint32_t)(end - data);
        }
        if (answer.frames && answer.credit == 0) {
            break; // the device was reset: no session
        }
        const uint32_t boots_before = boots;
        if (n <= SPK_LINK_PAYLOAD && type != SPK_TYPE_HELLO) {
            request(type, answer.ack, data, n);
        }
        if (boots != boots_before) {
            break;
        }
        data += n;
    }
    return 0;
}

#else

#include "fuzz_requests.h"

static void feed_sealed(uint8_t type, uint8_t seq, const uint8_t *payload, uint32_t n) {
    uint8_t wire[2 * OUT_MAX];
    feed(wire, seal(wire, type, seq, payload, n));
#ifdef SPK_LEARN
    take_over();
#endif
}

static void open_session(void) {
    uint8_t hello[8] = {0, 0, 0, 0, SPK_PROTOCOL, SPK_PROTOCOL, 0, 0};
    do {
        spk_store(hello, 1 + rnd(0xFFFFFFFEu), 4);
        feed_sealed(SPK_TYPE_HELLO, (uint8_t)rnd(256), hello, sizeof hello);
    } while (answer.frames == 0 || answer.status != SPK_STATUS_OK);
#ifdef SPK_LEARN
    check_committed();
#endif
}

static void noise(void) {
    uint8_t plain[OUT_MAX], wire[2 * OUT_MAX];
    const uint32_t sort = rnd(3);
    uint32_t n;

    switch (sort) {
    case 0: // garbage
        n = random_bytes(wire, 1 + rnd(400));
        break;
    case 1: // good COBS, and with it a CRC that is good once in 2^32
        wire[0] = 0;
        n = 1 + cobs_encode(plain, random_bytes(plain, rnd(300)), wire + 1);
        wire[n++] = 0;
        break;
    default: // sealed; type, number and payload at random
        n = seal(wire, (uint8_t)rnd(256), (uint8_t)rnd(256), plain, random_bytes(plain, rnd(256)));
    }
    for (uint32_t at = 0; at < n;) { // however it is chunked
        const uint32_t chunk = rnd(4) ? n - at : 1 + rnd(n - at);
        feed(wire + at, chunk);
        CHECK(sort == 2 || answer.frames == 0);
        at += chunk;
    }
#ifdef SPK_LEARN
    take_over();
#endif
}

// Type and status of answers that a long run must have seen.
static const uint8_t must[][2] = {
    {SPK_TYPE_HELLO, SPK_STATUS_OK},
    {SPK_TYPE_HELLO, SPK_STATUS_VERSION},
    {SPK_TYPE_HELLO, SPK_STATUS_RANGE},
    {SPK_TYPE_HELLO, SPK_STATUS_BAD_LEN},
    {SPK_TYPE_ECHO, SPK_STATUS_OK},
    {SPK_TYPE_ECHO, SPK_STATUS_BAD_LEN},
    {SPK_TYPE_TENSOR_PUT, SPK_STATUS_OK},
    {SPK_TYPE_TENSOR_PUT, SPK_STATUS_BAD_STATE},
    {SPK_TYPE_TENSOR_PUT, SPK_STATUS_RANGE},
    {SPK_TYPE_TENSOR_PUT, SPK_STATUS_BAD_TENSOR},
    {SPK_TYPE_TENSOR_GET, SPK_STATUS_OK},
    {SPK_TYPE_TENSOR_GET, SPK_STATUS_RANGE},
    {SPK_TYPE_TENSOR_GET, SPK_STATUS_BAD_TENSOR},
    {SPK_TYPE_TENSOR_GET, SPK_STATUS_BAD_LEN},
    {SPK_TYPE_RUN, SPK_STATUS_OK},
    {SPK_TYPE_RUN, SPK_STATUS_BAD_STATE},
    {SPK_TYPE_RUN, SPK_STATUS_RANGE},
    {SPK_TYPE_RESET, SPK_STATUS_OK},
    {SPK_TYPE_FAULT, SPK_STATUS_OK},
    {SPK_TYPE_CONSTANTS, SPK_STATUS_OK},
    {SPK_TYPE_CONSTANTS, SPK_STATUS_RANGE},
    {SPK_TYPE_CONSTANTS, SPK_STATUS_BAD_LEN},
    {SPK_TYPE_ACK, SPK_STATUS_OK},
    {SPK_TYPE_BAUD, SPK_STATUS_OK},
    {SPK_TYPE_BAUD, SPK_STATUS_RANGE},
    {SPK_TYPE_LINE, SPK_STATUS_OK},
    {SPK_TYPE_WORKING, REFUSED},
#ifdef SPK_LEARN
    {SPK_TYPE_LEARN, SPK_STATUS_OK},
    {SPK_TYPE_LEARN, SPK_STATUS_BAD_STATE},
    {SPK_TYPE_LEARN, SPK_STATUS_BAD_LEN},
    {SPK_TYPE_LEARN, SPK_STATUS_RANGE},
    {SPK_TYPE_LEARN_STATE, SPK_STATUS_OK},
    {SPK_TYPE_LEARN_STATE, SPK_STATUS_BAD_STATE},
    {SPK_TYPE_LEARN_STATE, SPK_STATUS_BAD_LEN},
    {SPK_TYPE_LEARN_STATE, SPK_STATUS_RANGE},
    {SPK_TYPE_LEARN_STATE, SPK_STATUS_STORAGE},
#ifdef SPK_SIGNED
    {SPK_TYPE_TENSOR_PUT, SPK_STATUS_SIGNATURE},
    {SPK_TYPE_LEARN_STATE, SPK_STATUS_SIGNATURE},
    {SPK_TYPE_LEARN_STATE, SPK_STATUS_OLD},
    {SPK_TYPE_SIGNED_PUT, SPK_STATUS_OK},
    {SPK_TYPE_SIGNED_PUT, SPK_STATUS_SIGNATURE},
    {SPK_TYPE_SIGNED_PUT, SPK_STATUS_BAD_STATE},
    {SPK_TYPE_SIGNED_PUT, SPK_STATUS_BAD_LEN},
#else
    {SPK_TYPE_LEARN_STATE, SPK_STATUS_CHECKSUM},
#endif
#else
    {SPK_TYPE_LEARN, SPK_STATUS_BAD_TYPE},
    {SPK_TYPE_LEARN_STATE, SPK_STATUS_BAD_TYPE},
#endif
    {SPK_TYPE_LOG, REFUSED},
};

static int report(uint32_t count) {
    int missing = 0;

    printf("frames %u resets %u\n", count, boots - 1);
    for (uint32_t type = 0; type < TYPES; type++) {
        for (uint32_t status = 0; status < STATUSES; status++) {
            if (seen[type][status]) {
                printf("type %2u status %2u: %llu\n", type, status,
                       (unsigned long long)seen[type][status]);
            }
        }
    }
    for (uint32_t i = 0; i < sizeof must / sizeof must[0]; i++) {
        if (seen[must[i][0]][must[i][1]] == 0) {
            fprintf(stderr, "never seen: type %u status %u\n", must[i][0], must[i][1]);
            missing = 1;
        }
    }
    return missing;
}

int main(int argc, char **argv) {
    const uint32_t count = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 100000;
    uint8_t payload[OUT_MAX];

    random_state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    random_state = random_state * 0x9E3779B97F4A7C15u + 1;
    boot();
    for (uint32_t i = 0; i < count; i++) {
        if (rnd(2)) {
            noise();
        } else if (answer.credit == 0 || rnd(200) == 0) {
            open_session();
        } else {
            const uint32_t boots_before = boots;
            uint8_t type = (uint8_t)(rnd(8) ? 1 + rnd(6) : rnd(TYPES));
#ifdef SPK_LEARN
            if (rnd(3) == 0) {
                type = (uint8_t)(SPK_TYPE_LEARN + rnd(2));
            }
            if (rnd(50) == 0) {
                flash_error(1 + rnd(7), 9);
            }
#endif
            // Mostly in its turn; else a copy of an old one, or ahead.
            const uint32_t turn = rnd(10);
            const uint8_t seq = (uint8_t)(answer.ack - (turn == 0 ? rnd(10) : turn == 1 ? 200 : 0));
            const uint32_t n = nearly(type, payload);
            if (seq == answer.ack && type != SPK_TYPE_HELLO) {
                request(type, seq, payload, n);
            } else {
                feed_sealed(type, seq, payload, n);
            }
            if (boots != boots_before) {
                answer.credit = 0;
            }
        }
        if (answer.frames == 0 && rnd(50) == 0) {
            answer.credit = 0; // open anew
        }
    }
    return report(count);
}

#endif
