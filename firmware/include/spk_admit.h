// What a tensor may hold: the check of every value that comes from outside.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_ADMIT_H
#define SPK_ADMIT_H

#include "spk_model.h"

// Kernels trust that the bits behind the last spike are 0: answers the bits of byte `at` that
// count.
static inline uint32_t spk_spike_mask(const struct spk_tensor *tensor, uint32_t at) {
    uint32_t spikes = 1;

    for (uint32_t i = 0; i < tensor->rank; i++) {
        spikes *= tensor->dims[i];
    }
    if (8 * at >= spikes) {
        return 0;
    }
    return spikes - 8 * at >= 8 ? 0xFF : (1u << (spikes - 8 * at)) - 1;
}

static inline uint32_t spk_element_bytes(const struct spk_tensor *tensor) {
    static const uint8_t sizes[] = {
        [SPK_BIT] = 1, [SPK_U8] = 1,  [SPK_I8] = 1,  [SPK_I16] = 2,
        [SPK_I32] = 4, [SPK_U32] = 4, [SPK_F32] = 4, [SPK_F16] = 2,
    };

    return sizes[tensor->dtype];
}

// Whether the tensor may hold the element, or the byte of spikes, that lies at `offset`.
static inline int spk_admits(const struct spk_tensor *tensor, uint32_t offset, const uint8_t *at,
                             uint32_t size) {
    uint32_t bits = 0;

    for (uint32_t i = size; i--;) {
        bits = bits << 8 | at[i];
    }
    if (tensor->dtype == SPK_BIT) {
        return (bits & ~spk_spike_mask(tensor, offset)) == 0;
    }
    if (tensor->dtype == SPK_I8 || tensor->dtype == SPK_I16) {
        const uint32_t sign = 1u << (8 * size - 1);
        bits = (bits ^ sign) - sign;
    }
#ifdef SPK_CHOICES
    if (tensor->choices && (bits > 31 || !(tensor->choices >> bits & 1))) {
        return 0;
    }
#endif
    const int32_t order = spk_order(bits, (enum spk_dtype)tensor->dtype);
    return tensor->low <= order && order <= tensor->high;
}

// How many bytes of `data`, which is to lie at `offset` of the tensor, it may hold: as far as the
// first element that is out of its range; none where elements are cut.
static inline uint32_t spk_admitted(const struct spk_tensor *tensor, uint32_t offset,
                                    const uint8_t *data, uint32_t size) {
    const uint32_t element = spk_element_bytes(tensor);
    uint32_t good = 0;

    if (offset % element || size % element) {
        return 0;
    }
    while (good < size && spk_admits(tensor, offset + good, data + good, element)) {
        good += element;
    }
    return good;
}

#endif
