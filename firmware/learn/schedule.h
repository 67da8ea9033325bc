// A learning rate that falls along a task. Golden twin: pytools/spikelet/learn/layers/schedule.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_SCHEDULE_H
#define SPK_SCHEDULE_H

#include <stdint.h>

// rate: Q15, of this sample; slope: Q31 a sample, samples * slope <= 2^31. count: samples so far.
static inline void spk_schedule(uint32_t samples, uint32_t slope, int32_t *count, int32_t *rate) {
    const uint32_t at = (uint32_t)*count;
    *rate = 32768 - (int32_t)((at * slope) >> 16);
    if (at < samples) {
        *count = (int32_t)(at + 1);
    }
}

#endif
