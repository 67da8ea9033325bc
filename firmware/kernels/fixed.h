// Integer primitives that several kernels share. Golden twin: pytools/spikelet/graph/fixed.py.
// SPDX-License-Identifier: Apache-2.0
#ifndef SPK_FIXED_H
#define SPK_FIXED_H

#include <stdbool.h>
#include <stdint.h>

// Sanitisers check the same code once, not each of its specialised and unrolled copies, which take
// a compiler twenty times as long.
#if defined(__SANITIZE_ADDRESS__)
#define SPK_SANITISED 1
#elif defined(__has_feature)
#define SPK_SANITISED __has_feature(address_sanitizer)
#else
#define SPK_SANITISED 0
#endif

// Kernels are specialised where they are called: every attribute is a constant there.
#if defined(__OPTIMIZE__) && !SPK_SANITISED
#define SPK_INLINE static inline __attribute__((always_inline))
#else // each inlined copy would have places of its own on the stack
#define SPK_INLINE static inline __attribute__((unused))
#endif

// One copy for all layers, where a copy for each would not pay.
#if defined(__clang__)
#define SPK_SHARED static __attribute__((noinline, unused))
#else
#define SPK_SHARED static __attribute__((noinline, noclone, unused))
#endif

#if SPK_SANITISED
#define SPK_UNROLL(n)
#elif defined(__clang__)
#define SPK_UNROLL(n) _Pragma(SPK_TEXT(clang loop unroll_count(n)))
#else
#define SPK_UNROLL(n) _Pragma(SPK_TEXT(GCC unroll n))
#endif
#define SPK_TEXT(x) #x

// Empty asm statements that hold the optimiser back. After SPK_OPAQUE(x) the compiler does not know
// how x was computed, so it keeps one base address instead of many. It moves no load across
// SPK_IN_ORDER, so it does not fill the registers with loads and spill the sums. SPK_NOW(x) has x
// computed before what stands behind it, for the same reason.
#define SPK_OPAQUE(x) __asm__("" : "+r"(x))
#define SPK_NOW(x) __asm__ volatile("" : "+r"(x))
#define SPK_IN_ORDER() __asm__ volatile("" ::: "memory")

// RV32 without a multiplier, whose compilers call a library for each product.
#if defined(__riscv) && !defined(__riscv_mul)
#define SPK_ADDS_ONLY
#endif

// a * b modulo 2^32; a loop as long as |b|, which is a code.
#if defined(SPK_ADDS_ONLY)
SPK_SHARED int32_t spk_times(int32_t a, int32_t b) {
    uint32_t each = b < 0 ? 0u - (uint32_t)a : (uint32_t)a;
    uint32_t bits = b < 0 ? 0u - (uint32_t)b : (uint32_t)b;
    uint32_t sum = 0;
    for (; bits != 0; bits >>= 2) {
        if (bits & 1) {
            sum += each;
        }
        each <<= 1;
        if (bits & 2) {
            sum += each;
        }
        each <<= 1;
    }
    return (int32_t)sum;
}
#else
SPK_INLINE int32_t spk_times(int32_t a, int32_t b) {
    return a * b;
}
#endif

// a * b; b <= 2^31.
#if defined(SPK_ADDS_ONLY)
SPK_SHARED uint64_t spk_product(uint32_t a, uint32_t b) {
    uint32_t high = 0;
    uint32_t low = 0;
    uint32_t right = 32; // how far the product still has to go
    do {
        if (a & 1) {
            high += b;
        }
        low = low >> 1 | high << 31;
        high >>= 1;
        a >>= 1;
        right--;
    } while (a != 0);
    if (right > 0) {
        low = low >> right | high << (32 - right);
        high >>= right;
    }
    return (uint64_t)high << 32 | low;
}
#else
SPK_INLINE uint64_t spk_product(uint32_t a, uint32_t b) {
    return (uint64_t)a * b;
}
#endif

SPK_INLINE int64_t spk_signed_product(int32_t a, int32_t b) {
#if defined(SPK_ADDS_ONLY)
    const uint64_t size =
        spk_product(a < 0 ? 0u - (uint32_t)a : (uint32_t)a, b < 0 ? 0u - (uint32_t)b : (uint32_t)b);
    return (int64_t)((a ^ b) < 0 ? 0u - size : size);
#else
    return (int64_t)a * b;
#endif
}

enum spk_rounding { SPK_FLOOR, SPK_TOWARD_ZERO, SPK_NEAREST };

// Element i of an int32 (wide) or int16 array; `wide` is a constant at every call.
SPK_INLINE int32_t spk_load(const void *p, uint32_t i, bool wide) {
    return wide ? ((const int32_t *)p)[i] : ((const int16_t *)p)[i];
}

SPK_INLINE void spk_store(void *p, uint32_t i, bool wide, int32_t value) {
    if (wide) {
        ((int32_t *)p)[i] = value;
    } else {
        SPK_OPAQUE(value); // keeps the compiler from sign-extending what it is about to truncate
        ((int16_t *)p)[i] = (int16_t)value;
    }
}

// a + b. Proved not to overflow; if a host wrote a state out of its range, it wraps and is defined.
SPK_INLINE int32_t spk_add(int32_t a, int32_t b) {
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

// v * factor / 2^bits with 0 <= factor <= 2^bits, 15 <= bits <= 31. `small` promises |v| < 2^15 and
// 15 bits.
SPK_INLINE int32_t spk_leak(int32_t v, uint32_t factor, uint32_t bits, enum spk_rounding rounding,
                            bool small) {
    // Of a factor that is not known here the product below is right, and takes no branch.
    if (__builtin_constant_p(factor) && factor == 1u << bits) {
        return v;
    }
    if (small && rounding == SPK_TOWARD_ZERO && __builtin_constant_p(factor) && (factor & 1)) {
        // An odd factor never divides evenly below 2^15, so toward zero is floor + 1 for every
        // negative v.
        return ((int32_t)((uint32_t)v * factor) >> 15) + (int32_t)((uint32_t)v >> 31);
    }
    const int32_t bias = rounding == SPK_FLOOR     ? 0
                         : rounding == SPK_NEAREST ? 1 << (bits - 1)
                                                   : (v >> 31) & (int32_t)((1u << bits) - 1);
    if (small) {
        return spk_add((int32_t)((uint32_t)v * factor), bias) >> 15;
    }
    return (int32_t)(((int64_t)v * (int64_t)factor + bias) >> bits);
}

// The factor of neuron i of n: `leak`, or element i mod `each` of an array, uint32, or uint16 with
// 15 bits.
SPK_INLINE uint32_t spk_leak_factor(uint32_t leak, const void *leaks, uint32_t each, uint32_t bits,
                                    uint32_t i, uint32_t n) {
    if (!leaks) {
        return leak;
    }
    const uint32_t at = each == n ? i : i % each;
    return bits > 15 ? ((const uint32_t *)leaks)[at] : ((const uint16_t *)leaks)[at];
}

// Clips to the membrane's type; counts into *saturations.
SPK_INLINE int32_t spk_saturate(int64_t v, bool wide, uint32_t *saturations) {
    const int32_t high = wide ? INT32_MAX : INT16_MAX;
    const int32_t low = wide ? INT32_MIN : INT16_MIN;
    if (v > high) {
        ++*saturations;
        return high;
    }
    if (v < low) {
        ++*saturations;
        return low;
    }
    return (int32_t)v;
}

// Index of the lowest set bit, which is taken from *x; *x is not 0.
SPK_INLINE uint32_t spk_take_lowest(uint32_t *x) {
// One or two instructions, or else, on RV32 without Zbb and on Cortex-M0, a call.
#if defined(__riscv_zbb) || defined(__ARM_FEATURE_CLZ) || !(defined(__riscv) || defined(__arm__))
    const uint32_t index = (uint32_t)__builtin_ctz(*x);
    *x &= *x - 1;
    return index;
#else
    // A de Bruijn sequence: every shift of it has other top five bits.
    static const uint8_t spk_bit_of[32] = {0,  1,  28, 2,  29, 14, 24, 3,  30, 22, 20,
                                           15, 25, 17, 4,  8,  31, 27, 13, 23, 21, 19,
                                           16, 7,  26, 12, 18, 6,  11, 5,  10, 9};
    uint32_t lowest = *x & (0u - *x);
    SPK_OPAQUE(lowest); // compilers would clear it with two more
    uint32_t rest = *x ^ lowest;
    SPK_OPAQUE(rest);
    *x = rest;
    return spk_bit_of[(lowest * 0x077CB531u) >> 27];
#endif
}

SPK_INLINE uint32_t spk_bits_set(uint32_t x) {
    x -= (x >> 1) & 0x55555555u;
    x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
    return (((x + (x >> 4)) & 0x0F0F0F0Fu) * 0x01010101u) >> 24;
}

// Marsaglia's xorshift32 (13, 17, 5); the state is never 0.
SPK_INLINE uint32_t spk_xorshift32(uint32_t state) {
    state ^= state << 13;
    state ^= state >> 17;
    return state ^ (state << 5);
}

// Word k, from 1, of splitmix32 is spk_mix32(start + k * SPK_GAMMA).
#define SPK_GAMMA 0x9E3779B9u

// a * b modulo 2^32; b is a constant, and without a multiplier an addition for each of its bits.
SPK_INLINE uint32_t spk_times_constant(uint32_t a, uint32_t b) {
#if defined(SPK_ADDS_ONLY)
    uint32_t sum = 0;
    SPK_UNROLL(32)
    for (uint32_t bit = 0; bit < 32; bit++) {
        sum += b >> bit & 1 ? a << bit : 0;
    }
    return sum;
#else
    return a * b;
#endif
}

// The finaliser of splitmix32: a hash of which no two values are the same.
SPK_INLINE uint32_t spk_mix32(uint32_t x) {
    x = spk_times_constant(x ^ x >> 16, 0x21F0AAADu);
    x = spk_times_constant(x ^ x >> 15, 0x735A2D97u);
    return x ^ x >> 15;
}

SPK_INLINE void spk_clear(void *p, uint32_t bytes) {
    uint8_t *to = p;
    for (uint32_t i = 0; i < bytes; i++) {
        to[i] = 0;
    }
}

SPK_INLINE uint32_t spk_min_u32(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

#endif
