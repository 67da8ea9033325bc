// The device agent: serves the link, moves tensors, runs the model.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_AGENT_H
#define SPK_AGENT_H

#include <stdint.h>

#include "spk_link.h"

#define SPK_FIRMWARE_VERSION 0x000200u // major, minor, patch: a byte each

// A board's startup calls this once memory is set up and spk_board_init() has run.
_Noreturn void spk_agent_main(void);

// What spk_agent_main is made of; a harness that owns its own loop calls them.
void spk_agent_boot(void);
int spk_agent_poll(void); // 0 when there was nothing to do

struct spk_tensor;
// Bytes of `data` from its start that the tensor may hold at `offset`; `size` where all is well.
uint32_t spk_agent_admitted(const struct spk_tensor *tensor, uint32_t offset, const uint8_t *data,
                            uint32_t size);

void spk_agent_put_outcome(struct spk_reply *reply, uint32_t ticks); // the fields of RUN's reply
enum spk_status spk_hello_serve(const uint8_t *data, struct spk_reply *reply); // HELLO
void spk_put_fault(struct spk_reply *reply);                                   // FAULT's fields

static inline void spk_put(struct spk_reply *reply, uint32_t value, uint32_t size) {
    reply->at = spk_store(reply->at, value, size);
}

static inline void spk_put_bytes(struct spk_reply *reply, const uint8_t *bytes, uint32_t size) {
    while (size--) {
        *reply->at++ = *bytes++;
    }
}

uint32_t spk_outputs_crc(void);              // of all outputs, in the order of the table
uint32_t spk_outputs_crc_from(uint32_t crc); // goes on from a CRC
// The last two fields of RUN's reply, or of EVENTS_CLOSE's: `head` bytes of it come before them.
void spk_put_results(struct spk_reply *reply, int states, int outputs, uint32_t head);
enum spk_status spk_constants_serve(const uint8_t *data, struct spk_reply *reply); // CONSTANTS

// The line: line.c.
void spk_line_boot(void);
int spk_line_poll(void); // between requests; 0 where nothing is to be waited for
enum spk_status spk_line_baud(const uint8_t *data, struct spk_reply *reply); // BAUD
enum spk_status spk_line_counts(struct spk_reply *reply);                    // LINE

#ifdef SPK_LEARN
// What is learned: learning.c.
void spk_learning_boot(void);
void spk_learning_session(uint32_t nonce); // what an earlier session did not commit is undone
void spk_learning_stepped(void);           // a learning step begins
void spk_learning_written(void);           // a host writes to a learned tensor
int spk_learning_pending(void);            // it did, and has not said that this was all
enum spk_status spk_learning_serve(const uint8_t *data, struct spk_reply *reply); // LEARN_STATE
uint32_t spk_learning_self_test(void); // SPK_SELF_TEST_...: of this boot
#else
#define spk_learning_self_test() SPK_SELF_TEST_NONE
#endif

#ifdef SPK_SIGNED
// An image with a key: signed.c.
int spk_signed_serves(uint8_t type); // whether it serves such a request at all
enum spk_status spk_signed_put(const struct spk_request *request, struct spk_reply *reply);
enum spk_status spk_signed_take(struct spk_reply *reply); // what was put becomes what is learned
uint32_t spk_signed_counter(void); // of the newest signed state in what is learned; 0 = none
void spk_signed_restored(uint32_t counter); // what is learned is a stored state, of this counter
#endif

#ifdef SPK_SELF_TEST
// Runs the golden samples with what is learned now: CRC-32 over the outputs of all of them. Every
// other tensor is cleared then: self_test.c.
uint32_t spk_self_test_digest(void);
#endif

#ifdef SPK_EVENTS
// Address events: events.c.
void spk_events_begin(int waits, uint32_t ticks); // a run began at step 0; it waits for events
enum spk_status spk_events_take(const struct spk_request *request, struct spk_reply *reply);
enum spk_status spk_events_close(const uint8_t *data, struct spk_reply *reply);

// What agent.c does for it.
int spk_agent_is_running(void);              // between two steps
uint32_t spk_agent_step(void);               // steps done
uint32_t spk_agent_advance(uint32_t target); // steps until so many are done; ticks of it
#endif

#ifdef SPK_TRACE
// The tracing of a run: what spk_probe (spk_model.h) collects, and where it is to stop.
void spk_trace_start(void); // a run begins at step 0
// A part of a run begins. Flags of RUN: SPK_RUN_STOP, behind that operator; SPK_RUN_TICKS, keep the
// model's ticks in place of digests.
void spk_trace_arm(uint32_t flags, uint32_t step, uint32_t op);
uint32_t spk_trace_begin(void);    // ticks of the model, as the part that runs now begins
extern uint8_t spk_trace_counting; // 0 in a part that keeps ticks
void spk_trace_count(uint32_t t, uint32_t place); // what is counted there: spk_model.h
void spk_trace_pause(void); // what follows is not the model's time, until it is resumed
void spk_trace_resume(void);
uint32_t spk_trace_spent(void); // by the model, from armed to paused
int spk_trace_stopped(void);    // the last part of the run stopped
uint32_t spk_trace_ticks(void); // spent in spk_probe since armed
#endif

#endif
