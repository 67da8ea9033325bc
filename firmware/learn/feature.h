// One element of a tensor of integer features.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_FEATURE_H
#define SPK_FEATURE_H

#include "kernels/fixed.h"
#include "spk_model.h"

// `type` is a constant at every call: SPK_U8, SPK_I8, SPK_I16 or SPK_I32.
SPK_INLINE int32_t spk_feature(const void *features, uint32_t i, enum spk_dtype type) {
    switch (type) {
    case SPK_U8:
        return ((const uint8_t *)features)[i];
    case SPK_I8:
        return ((const int8_t *)features)[i];
    case SPK_I16:
        return ((const int16_t *)features)[i];
    default:
        return ((const int32_t *)features)[i];
    }
}

// sum + a * b, proved to fit; defined, too, for features that are states of neurons, which a host
// may have written between two steps.
SPK_INLINE int32_t spk_feature_mac(int32_t sum, int32_t a, int32_t b) {
    return (int32_t)((uint32_t)sum + (uint32_t)a * (uint32_t)b);
}

#endif
