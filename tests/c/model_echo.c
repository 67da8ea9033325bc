// A model small enough to check by hand, with a tensor of every kind and a way to fail on purpose.
//   once: op 0: state = 0
//   step: op 1: mix[i] = 3 * mix[i] + image[i] + t           (u32, wraps)
//         op 2: spikes bit i = mix[i] >> 31
//   end:  op 3: sum = {sum of mix, sum of the gate's set bits' numbers + 1, steps}
// bomb[0] = t + 1 resets the device inside step t; bomb[1] = number of idle loops in a step.
// With SPK_LEARN:
//   learn:  weight[ring] += label + 1 + wanted, at most 1000 either way; ring = (ring + 1) % 8;
//           real[0] += 0.5 * wanted; health counts what the limit of 1000 took
//   commit: weight[i] /= 2, rounded to zero; commits += 1
// bomb[0] = 100 resets the device in the middle of learn, 101 in the middle of commit.
// With SPK_SELF_TEST the gated sum depends on what was learned, and on echo_fault; the test gives
// the digest that echo_self_test is to have.
// SPDX-License-Identifier: Apache-2.0
#include "spk_board.h"
#include "spk_model.h"

#ifndef PADDING
#define PADDING 50 // words of `health`: how long a commit and an upload take
#endif

// What a host may write, as spk_order() has it.
#define ANY32 INT32_MIN, INT32_MAX
#define FINITE -0x7F7FFFFF, 0x7F7FFFFF
#define FINITE16 -0x7BFF, 0x7BFF

enum { STEPS = 10, N = 300, TRACED = 4, WEIGHTS = 8, CLASSES = 5, LIMIT = 1000 };
enum { IN_LEARN = 100, IN_COMMIT = 101 };

static uint8_t image[N];               // (300,) input
static uint32_t bomb[2];               // (2,) input
static uint32_t gate[2];               // (40,) spikes, input: 24 padding bits
static uint32_t mix[N];                // (300,) state
static uint32_t spikes[(N + 31) / 32]; // (300,) activation
static uint32_t sum[3];                // (3,) output: sum of mix, gated spikes, steps done
static uint32_t saturations;
#ifdef SPK_LEARN
static float level[1];          // (1,) input
static int16_t weight[WEIGHTS]; // (8,) learned, -1000 to 1000
static uint8_t ring[1];         // (1,) learned, 0 to 7
static float real[3];           // (3,) learned
static uint16_t half[5];        // (5,) learned, float16
static uint32_t commits[1];     // (1,) learned, 0 to 3000000000
static int32_t health[PADDING]; // (PADDING,) learned
static int32_t label[1];        // (1,) target
static int8_t wanted[1];        // (1,) target
static const int16_t first[WEIGHTS] = {1, -2, 3, -4, 5, -6, 7, -8};
#endif
#ifdef SPK_SELF_TEST
enum { GOLDEN_SAMPLES = 3, SAMPLE = N + 8 + 8 + 4 }; // image, bomb, gate, level
static uint8_t golden_samples[GOLDEN_SAMPLES * SAMPLE];
struct spk_self_test echo_self_test = {golden_samples, 0, 7, GOLDEN_SAMPLES};
uint32_t echo_fault;    // the core computes something else
uint32_t echo_finished; // samples that were run
#endif
#ifdef SPK_TRACE
static uint32_t trace[STEPS * TRACED]; // (10, 4)
#endif

static const uint8_t sha[32] = {0xEC, 0x40, 1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14,
                                15,   16,   17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30};

static const struct spk_tensor tensors[] = {
    {"image", image, sizeof image, SPK_U8, SPK_INPUT, SPK_NO_OP, 1, {N}, 0.0625f, 0, 0, 255},
    {"bomb", bomb, sizeof bomb, SPK_U32, SPK_INPUT, SPK_NO_OP, 1, {2}, 1.0f, 0, ANY32},
    {"gate", gate, sizeof gate, SPK_BIT, SPK_INPUT, SPK_NO_OP, 2, {5, 8}, 1.0f, 0, 0, 1},
    {"mix", mix, sizeof mix, SPK_U32, SPK_STATE, 1, 1, {N}, 0.5f, -7, ANY32},
    {"sum", sum, sizeof sum, SPK_U32, SPK_OUTPUT, 3, 1, {3}, 1.0f, 0, ANY32},
#ifdef SPK_LEARN
    {"level", level, 4, SPK_F32, SPK_INPUT, SPK_NO_OP, 1, {1}, 1.0f, 0, FINITE},
    {"weight",
     weight,
     sizeof weight,
     SPK_I16,
     SPK_LEARNED,
     SPK_NO_OP,
     1,
     {WEIGHTS},
     1.0f,
     0,
     -LIMIT,
     LIMIT},
    {"ring", ring, 1, SPK_U8, SPK_LEARNED, SPK_NO_OP, 1, {1}, 1.0f, 0, 0, WEIGHTS - 1},
    {"real", real, sizeof real, SPK_F32, SPK_LEARNED, SPK_NO_OP, 1, {3}, 1.0f, 0, FINITE},
    {"half", half, sizeof half, SPK_F16, SPK_LEARNED, SPK_NO_OP, 1, {5}, 1.0f, 0, FINITE16},
    {"commits",
     commits,
     4,
     SPK_U32,
     SPK_LEARNED,
     SPK_NO_OP,
     1,
     {1},
     1.0f,
     0,
     INT32_MIN,
     3000000000 - 0x80000000},
    {"health",
     health,
     sizeof health,
     SPK_I32,
     SPK_LEARNED,
     SPK_NO_OP,
     1,
     {PADDING},
     1.0f,
     0,
     ANY32},
    {"label", label, 4, SPK_I32, SPK_TARGET, SPK_NO_OP, 1, {1}, 1.0f, 0, 0, CLASSES - 1},
    {"wanted", wanted, 1, SPK_I8, SPK_TARGET, SPK_NO_OP, 1, {1}, 1.0f, 0, -3, 3},
#endif
#ifdef SPK_TRACE
    {"spikes", spikes, sizeof spikes, SPK_BIT, SPK_ACTIVATION, 2, 1, {N}, 1.0f, 0, 0, 1},
    {"zero", mix, 4, SPK_U32, SPK_ACTIVATION, 0, 1, {1}, 1.0f, 0, ANY32},
    {"trace.digests",
     trace,
     sizeof trace,
     SPK_U32,
     SPK_DIGESTS,
     SPK_NO_OP,
     2,
     {STEPS, TRACED},
     1.0f,
     0,
     ANY32},
#endif
};

void spk_model_start(void) {
    saturations = 0;
    for (uint32_t i = 0; i < N; i++) {
        mix[i] = 0;
    }
    SPK_PROBE(0, 0);
}

void spk_model_step(uint32_t t) {
    if (bomb[0] == t + 1) {
        spk_board_reset();
    }
    for (volatile uint32_t i = 0; i < bomb[1]; i++) {
    }
    for (uint32_t i = 0; i < N; i++) {
        mix[i] = 3 * mix[i] + image[i] + t;
    }
    SPK_PROBE(t, 1);
    for (uint32_t i = 0; i < N; i++) {
        const uint32_t spike = mix[i] >> 31;
        spikes[i / 32] = (spikes[i / 32] & ~(1u << i % 32)) | spike << i % 32;
        saturations += spike;
    }
    SPK_PROBE(t, 2);
}

void spk_model_finish(void) {
    sum[0] = 0;
    sum[1] = 0;
    sum[2] = STEPS;
    for (uint32_t i = 0; i < N; i++) {
        sum[0] += mix[i];
    }
    for (uint32_t i = 0; i < 64; i++) {
        sum[1] += (gate[i / 32] >> i % 32 & 1) * (i + 1);
    }
#ifdef SPK_SELF_TEST
    for (uint32_t i = 0; i < WEIGHTS; i++) {
        sum[1] += (uint32_t)weight[i] * (i + 977);
    }
    sum[1] += echo_fault;
    echo_finished++;
#endif
    SPK_PROBE(STEPS - 1, 3);
}

#ifdef SPK_LEARN
void spk_model_load(void) {
    for (uint32_t i = 0; i < WEIGHTS; i++) {
        weight[i] = first[i];
    }
    ring[0] = 0;
    commits[0] = 0;
    for (uint32_t i = 0; i < 3; i++) {
        real[i] = (float)i;
    }
    for (uint32_t i = 0; i < 5; i++) {
        half[i] = (uint16_t)(0x3C00 + i);
    }
    for (uint32_t i = 0; i < PADDING; i++) {
        health[i] = 0;
    }
}

void spk_model_learn(void) {
    int32_t moved = weight[ring[0]] + label[0] + 1 + wanted[0];

    if (moved > LIMIT || moved < -LIMIT) {
        moved = moved > 0 ? LIMIT : -LIMIT;
        health[0]++;
    }
    weight[ring[0]] = (int16_t)moved;
    if (bomb[0] == IN_LEARN) {
        spk_board_reset();
    }
    ring[0] = (uint8_t)((ring[0] + 1) % WEIGHTS);
    real[0] += 0.5f * (float)wanted[0] * (real[0] > 1e30f ? real[0] : 1.0f);
}

void spk_model_commit(void) {
    for (uint32_t i = 0; i < WEIGHTS; i++) {
        weight[i] = (int16_t)(weight[i] / 2);
        if (bomb[0] == IN_COMMIT && i == WEIGHTS / 2) {
            spk_board_reset();
        }
    }
    commits[0]++;
}
#endif

#ifdef SPK_SIGNED // on a host
#include <string.h>
// A signed state is: SIGNED u32, which stands for a signature | counter u32 | weights.
enum { SIGNED = 0x5A5A5A5A };
uint8_t spk_signed_state[8 + sizeof weight];
const uint32_t spk_signed_bytes = sizeof spk_signed_state;

int spk_model_take_signed(uint32_t bytes, uint32_t *counter) {
    int16_t values[WEIGHTS];
    uint32_t head[2];

    memcpy(head, spk_signed_state, sizeof head);
    memcpy(values, spk_signed_state + sizeof head, sizeof values);
    if (bytes != spk_signed_bytes || head[0] != SIGNED) {
        return SPK_NOT_SIGNED;
    }
    if (head[1] < *counter) {
        return SPK_TOO_OLD;
    }
    for (uint32_t i = 0; i < WEIGHTS; i++) {
        if (values[i] < -LIMIT || values[i] > LIMIT) {
            return SPK_NOT_ADMITTED;
        }
    }
    memcpy(weight, values, sizeof weight);
    *counter = head[1];
    return SPK_TAKEN;
}
#endif

static const uint8_t odd[5] = {3, 1, 4, 1, 5};
static const uint16_t halves[3] = {0x1234, 0xFFFF, 1};
static const struct spk_constant constants[] = {{odd, sizeof odd, 0}, {halves, sizeof halves, 0}};

const struct spk_model spk_model = {
    .name = "echo",
    .package_sha256 = sha,
    .tensors = tensors,
    .tensor_count = sizeof tensors / sizeof tensors[0],
    .steps = STEPS,
    .arena_bytes = sizeof mix + sizeof spikes + sizeof sum,
    .constant_bytes = sizeof odd + sizeof halves,
    .constant_count = sizeof constants / sizeof constants[0],
    .constants = constants,
    .saturations = &saturations,
#ifdef SPK_LEARN
    .label = label,
    .classes = CLASSES,
#endif
#ifdef SPK_SELF_TEST
    .self_test = &echo_self_test,
#endif
};
