// A model small enough to check by hand, with a tensor of every kind and a way to fail on purpose.
//   once: op 0: state = 0
//   step: op 1: mix[i] = 3 * mix[i] + image[i] + t           (u32, wraps)
//         op 2: spikes bit i = mix[i] >> 31
//   end:  op 3: sum = {sum of mix, sum of the gate's set bits' numbers + 1, steps}
// bomb[0] = t + 1 resets the device inside step t; bomb[1] = number of idle loops in a step.
// SPDX-License-Identifier: Apache-2.0
#include "spk_board.h"
#include "spk_model.h"

enum { STEPS = 10, N = 300, TRACED = 4 };

static uint8_t image[N];               // (300,) input
static uint32_t bomb[2];               // (2,) input
static uint32_t gate[2];               // (40,) spikes, input: 24 padding bits
static uint32_t mix[N];                // (300,) state
static uint32_t spikes[(N + 31) / 32]; // (300,) activation
static uint32_t sum[3];                // (3,) output: sum of mix, gated spikes, steps done
static uint32_t saturations;
#ifdef SPK_TRACE
static uint32_t trace[STEPS * TRACED]; // (10, 4)
#endif

static const uint8_t sha[32] = {0xEC, 0x40, 1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14,
                                15,   16,   17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30};

static const struct spk_tensor tensors[] = {
    {"image", image, sizeof image, SPK_U8, SPK_INPUT, SPK_NO_OP, 1, {N}, 0.0625f, 0},
    {"bomb", bomb, sizeof bomb, SPK_U32, SPK_INPUT, SPK_NO_OP, 1, {2}, 1.0f, 0},
    {"gate", gate, sizeof gate, SPK_BIT, SPK_INPUT, SPK_NO_OP, 2, {5, 8}, 1.0f, 0},
    {"mix", mix, sizeof mix, SPK_U32, SPK_STATE, 1, 1, {N}, 0.5f, -7},
    {"sum", sum, sizeof sum, SPK_U32, SPK_OUTPUT, 3, 1, {3}, 1.0f, 0},
#ifdef SPK_TRACE
    {"spikes", spikes, sizeof spikes, SPK_BIT, SPK_ACTIVATION, 2, 1, {N}, 1.0f, 0},
    {"zero", mix, 4, SPK_U32, SPK_ACTIVATION, 0, 1, {1}, 1.0f, 0},
    {"trace", trace, sizeof trace, SPK_U32, SPK_DIGESTS, SPK_NO_OP, 2, {STEPS, TRACED}, 1.0f, 0},
#endif
};

static void start(void) {
    saturations = 0;
    for (uint32_t i = 0; i < N; i++) {
        mix[i] = 0;
    }
    SPK_PROBE(0, 0);
}

static void step(uint32_t t) {
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

static void finish(void) {
    sum[0] = 0;
    sum[1] = 0;
    sum[2] = STEPS;
    for (uint32_t i = 0; i < N; i++) {
        sum[0] += mix[i];
    }
    for (uint32_t i = 0; i < 64; i++) {
        sum[1] += (gate[i / 32] >> i % 32 & 1) * (i + 1);
    }
    SPK_PROBE(STEPS - 1, 3);
}

const struct spk_model spk_model = {
    .name = "echo",
    .package_sha256 = sha,
    .tensors = tensors,
    .tensor_count = sizeof tensors / sizeof tensors[0],
    .steps = STEPS,
    .arena_bytes = sizeof mix + sizeof spikes + sizeof sum,
    .saturations = &saturations,
    .start = start,
    .step = step,
    .finish = finish,
};
