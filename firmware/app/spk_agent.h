// The device agent: serves the link, moves tensors, runs the model.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_AGENT_H
#define SPK_AGENT_H

#include <stdint.h>

#define SPK_FIRMWARE_VERSION 0x000100u // major, minor, patch: a byte each

// A board's startup calls this once memory is set up and spk_board_init() has run.
_Noreturn void spk_agent_main(void);

// What spk_agent_main is made of; a harness that owns its own loop calls them.
void spk_agent_boot(void);
int spk_agent_poll(void); // 0 when there was nothing to do

#ifdef SPK_TRACE
// The tracing of a run: what spk_probe (spk_model.h) collects, and where it is to stop.
void spk_trace_start(void);                                     // a run begins at step 0
void spk_trace_arm(uint32_t armed, uint32_t step, uint32_t op); // stop after that operator
int spk_trace_stopped(void);                                    // the last part of the run stopped
uint32_t spk_trace_ticks(void);                                 // spent in spk_probe since armed
#endif

#endif
