// Floating point with the same bits on every core. Golden twin:
// pytools/spikelet/learn/numbers/float32.py. SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LEARN_FLOAT32_H
#define SPK_LEARN_FLOAT32_H

#include "kernels/fixed.h"

SPK_INLINE uint32_t spk_bits(float x) {
    const union {
        float real;
        uint32_t bits;
    } as = {x};
    return as.bits;
}

SPK_INLINE float spk_from_bits(uint32_t x) {
    const union {
        uint32_t bits;
        float real;
    } as = {.bits = x};
    return as.real;
}

#if defined(__riscv_flen) || defined(__ARM_FEATURE_FMA) || defined(__FMA__)

// a * b + c, rounded once.
SPK_INLINE float spk_fma(float a, float b, float c) {
    return __builtin_fmaf(a, b, c);
}

#elif defined(__x86_64__)

// The product is exact in a double. The sum is rounded to odd, so that rounding it again to a float
// is the only rounding that shows.
SPK_INLINE float spk_fma(float a, float b, float c) {
    const double product = (double)a * (double)b;
    const double sum = product + (double)c;
    union {
        double real;
        uint64_t bits;
    } odd = {sum};
    const double from_c = sum - product;
    const double rest = (product - (sum - from_c)) + ((double)c - from_c);
    // Not so of an infinite sum, whose rest is not a number.
    if ((rest < 0.0 || rest > 0.0) && (odd.bits & 1) == 0) {
        odd.bits += (rest > 0.0) == (sum > 0.0) ? 1u : (uint64_t)-1;
    }
    return (float)odd.real;
}

#else

// Rounds sign * (m + a little, where `rest`) * 2^exponent to the nearest float, ties to even.
SPK_INLINE float spk_fma_round(uint32_t sign, uint64_t m, int32_t exponent, bool rest) {
    const int32_t width = 64 - __builtin_clzll(m);
    int32_t drop = width - 24; // bits below the last place
    if (exponent + drop < -149) {
        drop = -149 - exponent; // the last place of a subnormal
    }
    if (drop <= 0) {
        m <<= -drop;
    } else if (drop > 63) {
        m = 0;
    } else {
        const uint64_t half = UINT64_C(1) << (drop - 1);
        const uint64_t below = m & (2 * half - 1);
        m >>= drop;
        m += below > half || (below == half && (rest || (m & 1) != 0)) ? 1 : 0;
    }
    // A carry out of the significand is a carry into the exponent.
    const int32_t place = exponent + drop + 149; // 0: subnormal, or the first normal binade
    const uint64_t bits = m + ((uint64_t)(uint32_t)place << 23);
    return spk_from_bits(sign | (place > 254 || bits > 0x7F800000u ? 0x7F800000u : (uint32_t)bits));
}

// Whether all bits of the exponent are set: an infinity, or not a number.
SPK_INLINE bool spk_not_finite(uint32_t bits) {
    return (bits & 0x7F800000u) == 0x7F800000u;
}

// a * b + c, rounded once.
SPK_SHARED float spk_fma(float a, float b, float c) {
    const uint32_t x = spk_bits(a);
    const uint32_t y = spk_bits(b);
    const uint32_t z = spk_bits(c);
    if (spk_not_finite(x) || spk_not_finite(y)) {
        return a * b + c; // nothing is rounded
    }
    if (spk_not_finite(z)) {
        return c; // whatever the size of the product
    }
    if (x << 1 == 0 || y << 1 == 0) {
        const uint32_t zero = (x ^ y) & 0x80000000u;
        return z << 1 != 0 ? c : spk_from_bits(z & zero);
    }
    const int32_t ex = (int32_t)(x >> 23 & 255);
    const int32_t ey = (int32_t)(y >> 23 & 255);
    const uint32_t mx = (x & 0x7FFFFFu) | (ex != 0 ? 0x800000u : 0);
    const uint32_t my = (y & 0x7FFFFFu) | (ey != 0 ? 0x800000u : 0);
    uint32_t sign = (x ^ y) & 0x80000000u;
    uint64_t big = (uint64_t)mx * my;
    int32_t e_big = (ex != 0 ? ex : 1) + (ey != 0 ? ey : 1) - 300;
    const int32_t ez = (int32_t)(z >> 23 & 255);
    uint64_t small = (z & 0x7FFFFFu) | (ez != 0 ? 0x800000u : 0);
    int32_t e_small = (ez != 0 ? ez : 1) - 150;
    if (small == 0) {
        return spk_fma_round(sign, big, e_big, false);
    }
    // Both with the top bit at 61, the larger one first: a sum keeps below 2^63.
    const int32_t up = __builtin_clzll(big) - 2;
    const int32_t up_small = __builtin_clzll(small) - 2;
    big <<= up;
    e_big -= up;
    small <<= up_small;
    e_small -= up_small;
    uint32_t sign_small = z & 0x80000000u;
    if (e_small > e_big || (e_small == e_big && small > big)) {
        const uint64_t m = big;
        const int32_t e = e_big;
        const uint32_t s = sign;
        big = small;
        e_big = e_small;
        sign = sign_small;
        small = m;
        e_small = e;
        sign_small = s;
    }
    const uint32_t down = (uint32_t)(e_big - e_small);
    bool rest = false;
    if (down != 0) {
        rest = down > 63 || (small & ((UINT64_C(1) << down) - 1)) != 0;
        small = down > 63 ? 0 : small >> down;
    }
    if (sign == sign_small) {
        big += small;
    } else {
        big -= small + (rest ? 1 : 0); // what was cut off leaves a rest above
    }
    return big == 0 ? 0.0f : spk_fma_round(sign, big, e_big, rest);
}

#endif

#if defined(__ARM_FEATURE_FMA)
#define SPK_HALF_CONVERTS 1 // the core converts half precision, but does not calculate in it
#else
#define SPK_HALF_CONVERTS 0
#endif

// Half precision to single, exactly.
SPK_INLINE float spk_from_half(uint16_t half) {
#if SPK_HALF_CONVERTS
    float wide;
    __asm__("vcvtb.f32.f16 %0, %1" : "=t"(wide) : "t"(spk_from_bits(half)));
    return wide;
#else
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    const float size = spk_from_bits((uint32_t)(half & 0x7FFFu) << 13) * 0x1p112f;
    return spk_from_bits(sign | spk_bits(size));
#endif
}

// Single precision to half, to nearest, ties to even; beyond +-65504 it is +-65504.
SPK_INLINE uint16_t spk_to_half(float x) {
    const uint32_t sign = spk_bits(x) >> 16 & 0x8000u;
    uint32_t size = spk_bits(x) & 0x7FFFFFFFu;
    if (size >= 0x477FF000u) {
        return (uint16_t)(sign | 0x7BFFu);
    }
#if SPK_HALF_CONVERTS
    float half = 0.0f;
    __asm__("vcvtb.f16.f32 %0, %1" : "+t"(half) : "t"(x));
    return (uint16_t)spk_bits(half);
#else
    if (size < 0x38800000u) { // below 2^-14: adding 1/2 rounds to a multiple of 2^-24
        return (uint16_t)(sign | (spk_bits(spk_from_bits(size) + 0.5f) - 0x3F000000u));
    }
    size += 0xFFFu + (size >> 13 & 1);
    return (uint16_t)(sign | (size - 0x38000000u) >> 13);
#endif
}

// e^x within 1.5 units in the last place; 0 below -87, e^88 above 88.
SPK_INLINE float spk_exp(float x) {
    if (x < -87.0f) {
        return 0.0f;
    }
    x = x > 88.0f ? 88.0f : x;
    // x = k ln 2 + r; adding 1.5 * 2^23 rounds to an integer, which is then in the low bits.
    const float shifted = spk_fma(x, 0x1.715476p+0f, 0x1.8p23f);
    const float k = shifted - 0x1.8p23f;
    float r = spk_fma(k, -0x1.62e400p-1f, x);
    r = spk_fma(k, -0x1.7f7d1cp-20f, r);
    float p = 0x1.6d119ap-10f;
    p = spk_fma(p, r, 0x1.120cp-7f);
    p = spk_fma(p, r, 0x1.555518p-5f);
    p = spk_fma(p, r, 0x1.5554dcp-3f);
    p = spk_fma(p, r, 0x1.p-1f);
    p = spk_fma(p, r, 1.0f);
    p = spk_fma(p, r, 1.0f);
    return spk_from_bits(spk_bits(p) + (spk_bits(shifted) << 23));
}

// Natural logarithm of a normal x > 0, within 2.5 units in the last place.
SPK_INLINE float spk_log(float x) {
    // x = m 2^e with m from sqrt(1/2) to sqrt(2).
    const uint32_t offset = spk_bits(x) - 0x3F3504F3u;
    const float e = (float)((int32_t)offset >> 23);
    const float f = spk_from_bits((offset & 0x7FFFFFu) + 0x3F3504F3u) - 1.0f;
    float p = 0x1.72acaap-4f;
    p = spk_fma(p, f, -0x1.1f615cp-3f);
    p = spk_fma(p, f, 0x1.2d2418p-3f);
    p = spk_fma(p, f, -0x1.540578p-3f);
    p = spk_fma(p, f, 0x1.9946c6p-3f);
    p = spk_fma(p, f, -0x1.0001d8p-2f);
    p = spk_fma(p, f, 0x1.55558cp-2f);
    const float square = f * f;
    const float low = spk_fma(e, 0x1.7f7d1cp-20f, (square * f) * p);
    return spk_fma(e, 0x1.62e400p-1f, f + spk_fma(square, -0.5f, low));
}

#endif
