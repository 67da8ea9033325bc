// Address events: they fill the input of a step until its time is over, then the step runs.
// SPDX-License-Identifier: Apache-2.0
#ifdef SPK_EVENTS

#include "spk_agent.h"
#include "spk_board.h"
#include "spk_frame.h"
#include "spk_model.h"

#define CLOSE_FLAGS ((uint32_t)(SPK_CLOSE_ANSWER | SPK_CLOSE_OUTPUTS | SPK_CLOSE_STATES))

static struct {
    uint32_t time;    // since the open step began, in the host's unit
    uint32_t events;  // taken since the run began
    uint32_t late;    // of them, those behind the last step
    uint32_t clipped; // of them, those whose bit was set or whose count was full
    uint32_t ticks;   // of all steps
    uint32_t most;    // of one step
    uint8_t waits;    // a run waits for events
} events;

static void clear_frame(void) {
    uint32_t *frame = spk_model.stream->data; // tensors begin with a word and end with one

    for (uint32_t i = 0; i < (spk_model.stream->bytes + 3) / 4; i++) {
        frame[i] = 0;
    }
}

static uint32_t elements(void) {
    uint32_t count = 1;

    for (uint32_t i = 0; i < spk_model.stream->rank; i++) {
        count *= spk_model.stream->dims[i];
    }
    return count;
}

void spk_events_begin(int waits, uint32_t ticks) {
    events.time = 0;
    events.events = 0;
    events.late = 0;
    events.clipped = 0;
    events.ticks = ticks;
    events.most = 0;
    events.waits = (uint8_t)waits;
    if (waits) {
        clear_frame();
    }
}

// Runs the open step, and opens the next one.
static void close_step(void) {
    const uint32_t ticks = spk_agent_advance(spk_agent_step() + 1);

    events.ticks += ticks;
    events.most = ticks > events.most ? ticks : events.most;
    events.time = 0;
    if (spk_agent_is_running()) { // else a host may still read what the last step read
        clear_frame();
    }
}

static void put_event(uint32_t address) {
    if (spk_model.stream->dtype == SPK_BIT) {
        uint32_t *word = (uint32_t *)spk_model.stream->data + address / 32;
        const uint32_t bit = (uint32_t)1 << address % 32;
        events.clipped += (*word & bit) != 0;
        *word |= bit;
    } else {
        uint8_t *count = (uint8_t *)spk_model.stream->data + address;
        events.clipped += *count == 255;
        *count = (uint8_t)(*count + (*count < 255));
    }
}

// A varint: 7 bits a byte, the least first; where it ends. 0 where it is cut or beyond 32 bits.
static const uint8_t *take_number(const uint8_t *at, const uint8_t *end, uint32_t *number) {
    *number = 0;
    for (uint32_t shift = 0; shift < 32; shift += 7) {
        if (at == end || (shift == 28 && *at > 15)) {
            return 0;
        }
        *number |= (uint32_t)(*at & 0x7Fu) << shift;
        if (*at++ < 0x80) {
            return at;
        }
    }
    return 0;
}

enum spk_status spk_events_take(const struct spk_request *request, struct spk_reply *reply) {
    const uint8_t *const begin = request->data + SPK_EVENTS_DATA_AT;
    const uint8_t *const end = request->data + request->size;
    const uint32_t size = elements();
    uint32_t dt = 0, address = 0;

    reply->detail = request->size;
    if (request->size < SPK_EVENTS_BYTES) {
        return SPK_STATUS_BAD_LEN;
    }
    const uint32_t bin = spk_load32(request->data + SPK_EVENTS_BIN_AT);
    reply->detail = spk_agent_step();
    if (!events.waits) {
        return SPK_STATUS_BAD_STATE;
    }
    for (const uint8_t *at = begin; at != end;) { // all of it before any
        reply->detail = (uint32_t)(at - begin);
        at = take_number(at, end, &dt);
        at = at ? take_number(at, end, &address) : at;
        if (!at) {
            return SPK_STATUS_BAD_LEN;
        }
        if (address >= size || bin == 0) {
            return SPK_STATUS_RANGE;
        }
    }
    for (const uint8_t *at = begin; at != end;) {
        at = take_number(take_number(at, end, &dt), end, &address);
        for (uint32_t left; spk_agent_is_running();) {
            left = events.time < bin ? bin - events.time : 0;
            if (dt < left) {
                break;
            }
            dt -= left;
            close_step();
        }
        events.events++;
        if (spk_agent_is_running()) {
            events.time += dt;
            put_event(address);
        } else {
            events.late++;
        }
    }
    return SPK_STATUS_OK;
}

enum spk_status spk_events_close(const uint8_t *data, struct spk_reply *reply) {
    const uint32_t steps = spk_load16(data + SPK_EVENTS_CLOSE_STEPS_AT);
    const uint32_t flags = data[SPK_EVENTS_CLOSE_FLAGS_AT];
    const uint32_t target = steps ? steps : spk_model.steps;

    reply->detail = steps;
    if (target > spk_model.steps || flags & ~CLOSE_FLAGS) {
        return SPK_STATUS_RANGE;
    }
    if (!events.waits) {
        return SPK_STATUS_BAD_STATE;
    }
    while (spk_agent_is_running() && spk_agent_step() < target) {
        close_step();
    }
    if (flags & SPK_CLOSE_ANSWER && spk_agent_is_running()) {
        spk_model_finish();
    }
#ifdef SPK_TRACE
    events.ticks = spk_trace_spent();
#endif
    spk_agent_put_outcome(reply, events.ticks);
    spk_put(reply, events.most, 4);
    spk_put(reply, events.events, 4);
    spk_put(reply, events.late, 4);
    spk_put(reply, events.clipped, 4);
    spk_put_results(reply, flags & SPK_CLOSE_STATES, flags & SPK_CLOSE_OUTPUTS,
                    SPK_EVENTS_CLOSE_REPLY_BYTES);
    return SPK_STATUS_OK;
}

#else
typedef int spk_events_are_for_some_models; // a file may not be empty
#endif
