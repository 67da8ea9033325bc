// SPDX-License-Identifier: Apache-2.0
#include "spk_agent.h"
#include "spk_admit.h"
#include "spk_board.h"
#include "spk_link.h"
#include "spk_model.h"

enum {
    REPLY_MAX = SPK_LINK_PAYLOAD - 1, // bytes after the status
    GET_MAX = SPK_LINK_PAYLOAD - SPK_TENSOR_GET_REPLY_BYTES,
};

#ifdef SPK_EVENTS
#define EVENTS_FLAG SPK_RUN_EVENTS
#else
#define EVENTS_FLAG 0
#endif
#ifdef SPK_KEEP
#define KEEP_FLAG SPK_RUN_KEEP
#else
#define KEEP_FLAG 0
#endif
#define RUN_FLAGS                                                                                  \
    ((uint32_t)(SPK_RUN_RESTART | SPK_RUN_STOP | SPK_RUN_TICKS | EVENTS_FLAG | KEEP_FLAG |         \
                SPK_RUN_OUTPUTS | SPK_RUN_STATES))

enum run_state {
    RUN_NONE,     // no start yet, or stopped inside a step: only a restart goes on
    RUN_ON,       // between two steps
    RUN_FINISHED, // finish() has run
};

static struct {
    uint16_t step; // steps done
    uint8_t state; // enum run_state
    uint8_t reset; // asked for; done once the reply is out
#ifdef SPK_KEEP
    uint8_t started; // neurons have states
    uint8_t keep;    // the next start leaves them
#endif
#ifdef SPK_LEARN
    uint16_t writes; // accepted in a row, up to now
#endif
} agent;

static enum spk_status refuse(struct spk_reply *reply, enum spk_status status, uint32_t detail) {
    reply->detail = detail;
    return status;
}

// Finds the tensor and checks that [offset, offset + size) lies inside it.
static enum spk_status locate(const uint8_t *data, uint32_t size, struct spk_reply *reply,
                              const struct spk_tensor **found) {
    const uint32_t id = spk_load16(data);
    const uint32_t offset = spk_load32(data + 2);

    if (id >= spk_model.tensor_count) {
        return refuse(reply, SPK_STATUS_BAD_TENSOR, id);
    }
    const struct spk_tensor *tensor = &spk_model.tensors[id];
    if (offset > tensor->bytes || size > tensor->bytes - offset) {
        return refuse(reply, SPK_STATUS_RANGE, offset);
    }
    *found = tensor;
    return SPK_STATUS_OK;
}

uint32_t spk_agent_admitted(const struct spk_tensor *tensor, uint32_t offset, const uint8_t *data,
                            uint32_t size) {
    return spk_admitted(tensor, offset, data, size);
}

static int writable(const struct spk_tensor *tensor) {
#ifdef SPK_LEARN
    if (tensor->kind == SPK_LEARNED || tensor->kind == SPK_TARGET) {
        return tensor->data != spk_model.label; // which LEARN writes
    }
#endif
    return tensor->kind == SPK_INPUT || tensor->kind == SPK_STATE;
}

static enum spk_status tensor_put(const struct spk_request *request, struct spk_reply *reply) {
    const uint8_t *data = request->data;
    const struct spk_tensor *tensor;

    if (request->size < SPK_TENSOR_PUT_BYTES) {
        return refuse(reply, SPK_STATUS_BAD_LEN, request->size);
    }
    const uint32_t size = request->size - SPK_TENSOR_PUT_BYTES;
    const enum spk_status status = locate(data, size, reply, &tensor);
    if (status != SPK_STATUS_OK) {
        return status;
    }
#ifdef SPK_SIGNED
    if (tensor->kind == SPK_LEARNED) {
        return refuse(reply, SPK_STATUS_SIGNATURE, request->type);
    }
#endif
    if (!writable(tensor)) {
        return refuse(reply, SPK_STATUS_BAD_STATE, spk_load16(data));
    }
    const uint32_t offset = spk_load32(data + SPK_TENSOR_PUT_OFFSET_AT);
    data += SPK_TENSOR_PUT_DATA_AT;
    const uint32_t good = spk_agent_admitted(tensor, offset, data, size);
    if (good < size) {
        return refuse(reply, SPK_STATUS_RANGE, offset + good);
    }
#ifdef SPK_LEARN
    if (tensor->kind == SPK_LEARNED) {
        spk_learning_written();
    }
    if (tensor->kind != SPK_TARGET && agent.state == RUN_FINISHED) {
        agent.state = RUN_NONE; // what LEARN would read is of two samples, or of two models
    }
#endif
    uint8_t *out = (uint8_t *)tensor->data + offset;
    for (uint32_t i = 0; i < size; i++) {
        out[i] = data[i];
    }
    return SPK_STATUS_OK;
}

static enum spk_status tensor_get(const uint8_t *data, struct spk_reply *reply) {
    const struct spk_tensor *tensor;
    uint32_t size = spk_load16(data + SPK_TENSOR_GET_SIZE_AT);
    const enum spk_status status = locate(data, size, reply, &tensor);

    if (status != SPK_STATUS_OK) {
        return status;
    }
    if (size > GET_MAX) {
        size = GET_MAX;
        reply->more = 1;
    }
    spk_put_bytes(reply, data, SPK_TENSOR_GET_SIZE_AT);
    spk_put_bytes(
        reply, (const uint8_t *)tensor->data + spk_load32(data + SPK_TENSOR_GET_OFFSET_AT), size);
    return SPK_STATUS_OK;
}

static int stopped(void) {
#ifdef SPK_TRACE
    return spk_trace_stopped();
#else
    return 0;
#endif
}

__attribute__((weak)) void spk_board_ticks_begin(void) {
}

// Ticks of the model alone: a trace build's digests are not the model's.
static uint32_t model_ticks(void) {
#ifdef SPK_TRACE
    return spk_board_ticks() - spk_trace_ticks();
#else
    return spk_board_ticks();
#endif
}

// The same as a part of a run begins: what its probes count from, too.
static uint32_t begin_ticks(void) {
#ifdef SPK_TRACE
    return spk_trace_begin();
#else
    return model_ticks();
#endif
}

// Whether the step that was run last made further ones superfluous.
static int is_sure(void) {
#ifdef SPK_EXIT
    return !stopped() && *spk_model.unsure == 0;
#else
    return 0;
#endif
}

// What a trace build counts in front of operators.
static void count(uint32_t t, uint32_t place) {
#ifdef SPK_TRACE
    if (spk_trace_counting) {
        spk_trace_count(t, place);
    }
#else
    (void)t, (void)place;
#endif
}

static void start(void) {
    count(0, SPK_AT_START);
#ifdef SPK_KEEP
    agent.started = 1;
    if (agent.keep) {
        spk_model_resume();
        return;
    }
#endif
    spk_model_start();
}

// Steps until `target` steps are done; at the model's end also what needs all steps. Ticks of it: a
// function of its own, so that they do not depend on the code around it.
__attribute__((noinline)) static uint32_t advance(uint32_t target, int restart) {
    spk_board_ticks_begin();
    const uint32_t before = begin_ticks();
    uint32_t step = restart ? 0 : agent.step;

    if (restart) {
        start();
    }
    int sure = 0;
    for (; step != target && !sure && !stopped(); step += !stopped()) {
        count(step, SPK_AT_STEP);
        spk_model_step(step);
        sure = is_sure();
    }
    agent.step = (uint16_t)step;
    agent.state = RUN_ON;
    if (!stopped() && (step == spk_model.steps || sure)) {
        count(step, SPK_AT_FINISH);
        spk_model_finish();
        agent.state = RUN_FINISHED;
    }
    if (stopped()) {
        agent.state = RUN_NONE;
    }
    return model_ticks() - before;
}

void spk_agent_put_outcome(struct spk_reply *reply, uint32_t ticks) {
    spk_put(reply,
            agent.state == RUN_FINISHED ? SPK_DONE_FINISHED
            : stopped()                 ? SPK_DONE_STOPPED
                                        : SPK_DONE_STEPS_LEFT,
            1);
    spk_put(reply, agent.step, 2);
    spk_put(reply, ticks, 4);
    spk_put(reply, spk_board_stack_high_water(), 4);
    spk_put(reply, *spk_model.saturations, 4);
    spk_put(reply, spk_outputs_crc(), 4);
    spk_put(reply, spk_board_boot_id(), 4);
}

#ifdef SPK_EVENTS
int spk_agent_is_running(void) {
    return agent.state == RUN_ON;
}

uint32_t spk_agent_step(void) {
    return agent.step;
}

uint32_t spk_agent_advance(uint32_t target) {
#ifdef SPK_TRACE
    spk_trace_resume();
#endif
    const uint32_t ticks = advance(target, 0);
#ifdef SPK_TRACE
    spk_trace_pause();
#endif
    return ticks;
}
#endif

static enum spk_status run(const uint8_t *data, struct spk_reply *reply) {
    const uint32_t flags = data[SPK_RUN_FLAGS_AT];
    const uint32_t steps = spk_load16(data + SPK_RUN_STEPS_AT);
    const int restart = (flags & SPK_RUN_RESTART) != 0;
    const uint32_t left = spk_model.steps - (restart ? 0u : agent.step);

    if (flags & ~RUN_FLAGS || (!restart && flags & SPK_RUN_EVENTS)) {
        return refuse(reply, SPK_STATUS_RANGE, flags);
    }
    if (!restart && agent.state != RUN_ON) {
        return refuse(reply, SPK_STATUS_BAD_STATE, agent.step);
    }
#ifdef SPK_KEEP
    agent.keep = (flags & SPK_RUN_KEEP) != 0;
    if (agent.keep && (!restart || !agent.started)) {
        return refuse(reply, SPK_STATUS_BAD_STATE, agent.step);
    }
#endif
#ifdef SPK_LEARN
    if (spk_learning_pending()) {
        return refuse(reply, SPK_STATUS_BAD_STATE, SPK_TYPE_LEARN_STATE);
    }
#endif
    if (steps > left) {
        return refuse(reply, SPK_STATUS_RANGE, steps);
    }
#ifdef SPK_CHOICES
    for (uint32_t id = 0; restart && id < spk_model.tensor_count; id++) {
        const struct spk_tensor *tensor = &spk_model.tensors[id];
        // never written?
        if (tensor->choices && !spk_agent_admitted(tensor, 0, tensor->data, tensor->bytes)) {
            return refuse(reply, SPK_STATUS_RANGE, id);
        }
    }
#endif
#ifdef SPK_TRACE
    const uint32_t stop_step = spk_load16(data + SPK_RUN_STOP_STEP_AT);
    if ((flags & SPK_RUN_STOP) && stop_step >= spk_model.steps) {
        return refuse(reply, SPK_STATUS_RANGE, stop_step);
    }
    if (restart) {
        spk_trace_start();
    }
    spk_trace_arm(flags, stop_step, spk_load16(data + SPK_RUN_STOP_OP_AT));
#else
    if (flags & (SPK_RUN_STOP | SPK_RUN_TICKS)) {
        return refuse(reply, SPK_STATUS_BAD_STATE, flags);
    }
#endif
    uint32_t target = spk_model.steps - left + (steps ? steps : left);
#ifdef SPK_EVENTS
    if (flags & SPK_RUN_EVENTS) {
        target = 0;
    }
#endif
    const uint32_t ticks = advance(target, restart);
#ifdef SPK_EVENTS
#ifdef SPK_TRACE
    spk_trace_pause();
#endif
    if (restart) {
        spk_events_begin((flags & SPK_RUN_EVENTS) != 0, ticks);
    }
#endif
    spk_agent_put_outcome(reply, ticks);
    spk_put_results(reply, flags & SPK_RUN_STATES, flags & SPK_RUN_OUTPUTS, SPK_RUN_REPLY_BYTES);
    return SPK_STATUS_OK;
}

#ifdef SPK_LEARN
static enum spk_status learn(const uint8_t *data, struct spk_reply *reply) {
    const uint32_t label = spk_load16(data + SPK_LEARN_LABEL_AT);
    const uint32_t flags = data[SPK_LEARN_FLAGS_AT];
    const uint32_t writes = spk_load16(data + SPK_LEARN_WRITES_AT);
    uint32_t run_ticks = 0;

    if (flags & ~(uint32_t)SPK_LEARN_RUN) {
        return refuse(reply, SPK_STATUS_RANGE, flags);
    }
    if (spk_model.classes ? label >= (uint32_t)spk_model.classes : label != SPK_NO_LABEL) {
        return refuse(reply, SPK_STATUS_RANGE, label);
    }
    if (spk_learning_pending()) {
        return refuse(reply, SPK_STATUS_BAD_STATE, SPK_TYPE_LEARN_STATE);
    }
    if (agent.writes < writes) { // it would learn from what an earlier sample left
        return refuse(reply, SPK_STATUS_BAD_STATE, SPK_TYPE_TENSOR_PUT);
    }
    if (flags & SPK_LEARN_RUN) {
#ifdef SPK_TRACE
        spk_trace_start();
        spk_trace_arm(0, 0, 0);
#endif
#ifdef SPK_KEEP
        agent.keep = 0;
#endif
        run_ticks = advance(spk_model.steps, 1);
    }
    if (agent.state != RUN_FINISHED) {
        return refuse(reply, SPK_STATUS_BAD_STATE, agent.step);
    }
    const uint32_t run_saturations = *spk_model.saturations;
    const uint32_t crc = spk_outputs_crc();
    if (spk_model.classes) {
        *spk_model.label = (int32_t)label;
    }
    agent.state = RUN_NONE; // what was kept of the sample is used up
    spk_learning_stepped();
    spk_board_ticks_begin();
    const uint32_t before = model_ticks();
    spk_model_learn();
    spk_put(reply, model_ticks() - before, 4);
    spk_put(reply, spk_board_stack_high_water(), 4);
    spk_put(reply, *spk_model.saturations, 4);
    spk_put(reply, spk_board_boot_id(), 4);
    spk_put(reply, run_ticks, 4);
    spk_put(reply, run_saturations, 4);
    spk_put(reply, crc, 4);
    return SPK_STATUS_OK;
}

static enum spk_status learn_state(const uint8_t *data, struct spk_reply *reply) {
    const uint32_t action = data[SPK_LEARN_STATE_ACTION_AT];

    if (action != SPK_LEARN_INFO) {
        agent.state = RUN_NONE; // the tensors that LEARN would read may have changed
    }
    if (action == SPK_LEARN_COMMIT || action == SPK_LEARN_KEEP_FACTORY) {
        spk_link_working();
    }
#ifdef SPK_SIGNED
    if (action == SPK_LEARN_ACCEPT_SIGNED) { // millions of instructions
        spk_link_working();
    }
#endif
    return spk_learning_serve(data, reply);
}
#endif

static enum spk_status echo(const struct spk_request *request, struct spk_reply *reply) {
    if (request->size > REPLY_MAX) {
        return refuse(reply, SPK_STATUS_BAD_LEN, request->size);
    }
    spk_put_bytes(reply, request->data, request->size);
    return SPK_STATUS_OK;
}

static enum spk_status serve(const struct spk_request *request, struct spk_reply *reply) {
    const uint8_t *data = request->data;
    uint32_t size = 0; // that the request must have; FAULT, LINE and RESET have no payload

#ifdef SPK_SIGNED
    if (!spk_signed_serves(request->type)) {
        return refuse(reply, SPK_STATUS_SIGNATURE, request->type);
    }
#endif
    switch (request->type) {
    case SPK_TYPE_HELLO:
        return spk_hello_serve(data, reply);
    case SPK_TYPE_TENSOR_PUT:
        return tensor_put(request, reply);
    case SPK_TYPE_ECHO:
        return echo(request, reply);
#ifdef SPK_SIGNED
    case SPK_TYPE_SIGNED_PUT:
        return spk_signed_put(request, reply);
#endif
#ifdef SPK_EVENTS
    case SPK_TYPE_EVENTS:
        return spk_events_take(request, reply);
    case SPK_TYPE_EVENTS_CLOSE:
        size = SPK_EVENTS_CLOSE_BYTES;
        break;
#endif
    case SPK_TYPE_TENSOR_GET:
        size = SPK_TENSOR_GET_BYTES;
        break;
    case SPK_TYPE_RUN:
        size = SPK_RUN_BYTES;
        break;
    case SPK_TYPE_CONSTANTS:
        size = SPK_CONSTANTS_BYTES;
        break;
#ifdef SPK_LEARN
    case SPK_TYPE_LEARN:
        size = SPK_LEARN_BYTES;
        break;
    case SPK_TYPE_LEARN_STATE:
        size = SPK_LEARN_STATE_BYTES;
        break;
#endif
    case SPK_TYPE_BAUD:
        size = SPK_BAUD_BYTES;
        break;
    case SPK_TYPE_FAULT:
    case SPK_TYPE_LINE:
    case SPK_TYPE_RESET:
        break;
    default:
        return refuse(reply, SPK_STATUS_BAD_TYPE, request->type);
    }
    if (request->size != size) {
        return refuse(reply, SPK_STATUS_BAD_LEN, request->size);
    }
    switch (request->type) {
    case SPK_TYPE_TENSOR_GET:
        return tensor_get(data, reply);
    case SPK_TYPE_RUN:
        return run(data, reply);
    case SPK_TYPE_CONSTANTS:
        return spk_constants_serve(data, reply);
#ifdef SPK_EVENTS
    case SPK_TYPE_EVENTS_CLOSE:
        return spk_events_close(data, reply);
#endif
#ifdef SPK_LEARN
    case SPK_TYPE_LEARN:
        return learn(data, reply);
    case SPK_TYPE_LEARN_STATE:
        return learn_state(data, reply);
#endif
    case SPK_TYPE_BAUD:
        return spk_line_baud(data, reply);
    case SPK_TYPE_LINE:
        return spk_line_counts(reply);
    case SPK_TYPE_FAULT:
        spk_put_fault(reply);
        return SPK_STATUS_OK;
    default:
        agent.reset = 1;
        return SPK_STATUS_OK;
    }
}

enum spk_status spk_link_serve(const struct spk_request *request, struct spk_reply *reply) {
    const enum spk_status status = serve(request, reply);

#ifdef SPK_LEARN
    const int wrote = request->type == SPK_TYPE_TENSOR_PUT && status == SPK_STATUS_OK;
    agent.writes = (uint16_t)(wrote ? agent.writes + (agent.writes < 0xFFFF) : 0);
#endif
    return status;
}

void spk_agent_boot(void) {
    agent.step = 0;
    agent.state = RUN_NONE;
    agent.reset = 0;
    spk_link_init();
    spk_line_boot();
#ifdef SPK_LEARN
    spk_learning_boot();
#endif
    spk_log("boot");
}

int spk_agent_poll(void) {
    const int busy = spk_link_poll();

    spk_board_alive();
    if (agent.reset) {
        spk_board_reset();
    }
    return spk_line_poll() | busy;
}

_Noreturn void spk_agent_main(void) {
    spk_agent_boot();
    for (;;) {
        if (!spk_agent_poll()) {
            spk_board_idle();
        }
    }
}
