// Integer primitives that several learners share. Golden twin:
// pytools/spikelet/learn/numbers/fixed.py. SPDX-License-Identifier: Apache-2.0
#ifndef SPK_LEARN_FIXED_H
#define SPK_LEARN_FIXED_H

#include "kernels/fixed.h"

// 2^(i/256) - 1 and log2(1 + i/256) in Q16; each curve ends at 2^16.
static const uint16_t spk_exp2_table[256] __attribute__((unused)) = {
    0,     178,   356,   535,   714,   893,   1073,  1254,  1435,  1617,  1799,  1981,  2164,
    2348,  2532,  2716,  2902,  3087,  3273,  3460,  3647,  3834,  4022,  4211,  4400,  4590,
    4780,  4971,  5162,  5353,  5546,  5738,  5932,  6125,  6320,  6514,  6710,  6906,  7102,
    7299,  7496,  7694,  7893,  8092,  8292,  8492,  8693,  8894,  9096,  9298,  9501,  9704,
    9908,  10113, 10318, 10524, 10730, 10937, 11144, 11352, 11560, 11769, 11979, 12189, 12400,
    12611, 12823, 13036, 13249, 13462, 13676, 13891, 14106, 14322, 14539, 14756, 14974, 15192,
    15411, 15630, 15850, 16071, 16292, 16514, 16737, 16960, 17183, 17408, 17633, 17858, 18084,
    18311, 18538, 18766, 18995, 19224, 19454, 19684, 19915, 20147, 20379, 20612, 20846, 21080,
    21315, 21550, 21786, 22023, 22260, 22498, 22737, 22977, 23216, 23457, 23698, 23940, 24183,
    24426, 24670, 24915, 25160, 25406, 25652, 25900, 26148, 26396, 26645, 26895, 27146, 27397,
    27649, 27902, 28155, 28409, 28664, 28919, 29175, 29432, 29690, 29948, 30207, 30466, 30727,
    30988, 31249, 31512, 31775, 32039, 32303, 32568, 32834, 33101, 33369, 33637, 33906, 34175,
    34446, 34717, 34988, 35261, 35534, 35808, 36083, 36359, 36635, 36912, 37190, 37468, 37747,
    38028, 38308, 38590, 38872, 39155, 39439, 39724, 40009, 40295, 40582, 40870, 41158, 41448,
    41738, 42029, 42320, 42613, 42906, 43200, 43495, 43790, 44087, 44384, 44682, 44981, 45280,
    45581, 45882, 46184, 46487, 46791, 47095, 47401, 47707, 48014, 48322, 48631, 48940, 49251,
    49562, 49874, 50187, 50500, 50815, 51131, 51447, 51764, 52082, 52401, 52721, 53041, 53363,
    53685, 54008, 54333, 54658, 54983, 55310, 55638, 55966, 56296, 56626, 56957, 57289, 57622,
    57956, 58291, 58627, 58964, 59301, 59640, 59979, 60319, 60661, 61003, 61346, 61690, 62035,
    62381, 62727, 63075, 63424, 63774, 64124, 64476, 64828, 65182};
static const uint16_t spk_log2_table[256] __attribute__((unused)) = {
    0,     369,   736,   1102,  1466,  1829,  2190,  2551,  2909,  3267,  3623,  3978,  4331,
    4683,  5034,  5384,  5732,  6079,  6425,  6769,  7112,  7454,  7795,  8134,  8473,  8810,
    9146,  9480,  9814,  10146, 10477, 10807, 11136, 11464, 11791, 12116, 12440, 12764, 13086,
    13407, 13727, 14046, 14363, 14680, 14996, 15310, 15624, 15937, 16248, 16559, 16868, 17177,
    17484, 17791, 18096, 18401, 18704, 19007, 19308, 19609, 19909, 20207, 20505, 20802, 21098,
    21393, 21687, 21980, 22272, 22564, 22854, 23144, 23433, 23720, 24007, 24293, 24579, 24863,
    25146, 25429, 25711, 25992, 26272, 26551, 26830, 27108, 27384, 27660, 27936, 28210, 28484,
    28757, 29029, 29300, 29571, 29840, 30109, 30378, 30645, 30912, 31178, 31443, 31707, 31971,
    32234, 32496, 32758, 33019, 33279, 33538, 33797, 34055, 34312, 34569, 34825, 35080, 35334,
    35588, 35841, 36094, 36346, 36597, 36847, 37097, 37346, 37595, 37842, 38090, 38336, 38582,
    38827, 39072, 39316, 39559, 39802, 40044, 40286, 40527, 40767, 41006, 41246, 41484, 41722,
    41959, 42196, 42432, 42667, 42902, 43137, 43370, 43603, 43836, 44068, 44300, 44530, 44761,
    44990, 45220, 45448, 45676, 45904, 46131, 46357, 46583, 46809, 47034, 47258, 47482, 47705,
    47928, 48150, 48372, 48593, 48813, 49034, 49253, 49472, 49691, 49909, 50127, 50344, 50560,
    50776, 50992, 51207, 51422, 51636, 51850, 52063, 52276, 52488, 52700, 52911, 53122, 53332,
    53542, 53751, 53960, 54169, 54377, 54584, 54791, 54998, 55204, 55410, 55615, 55820, 56025,
    56229, 56432, 56635, 56838, 57040, 57242, 57443, 57644, 57845, 58045, 58245, 58444, 58643,
    58841, 59039, 59237, 59434, 59631, 59827, 60023, 60219, 60414, 60609, 60803, 60997, 61190,
    61384, 61576, 61769, 61961, 62152, 62343, 62534, 62725, 62915, 63104, 63294, 63483, 63671,
    63859, 64047, 64234, 64421, 64608, 64794, 64980, 65166, 65351};

SPK_INLINE int32_t spk_sat32(int64_t v) {
    return v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : (int32_t)v;
}

SPK_INLINE int16_t spk_sat16(int32_t v) {
    return (int16_t)(v > INT16_MAX ? INT16_MAX : v < INT16_MIN ? INT16_MIN : v);
}

SPK_INLINE int8_t spk_sat8(int32_t v) {
    return (int8_t)(v > INT8_MAX ? INT8_MAX : v < INT8_MIN ? INT8_MIN : v);
}

// a + b, saturated.
SPK_INLINE int32_t spk_add_sat(int32_t a, int32_t b) {
    const int32_t sum = (int32_t)((uint32_t)a + (uint32_t)b);
    // Only where both signs are the same, and the sum's is another.
    return ((a ^ sum) & (b ^ sum)) < 0 ? (a >> 31) ^ INT32_MAX : sum;
}

// v / 2^n to the nearest integer, halves up; n is 0 to 31.
SPK_INLINE int32_t spk_shift_round(int32_t v, uint32_t n) {
    return n == 0 ? v : (v >> n) + ((v >> (n - 1)) & 1);
}

// The same of 64 bits; n is 0 to 62, |v| < 2^62.
SPK_INLINE int64_t spk_shift_round64(int64_t v, uint32_t n) {
    return (v + (((int64_t)1 << n) >> 1)) >> n;
}

// mean + (x - mean) / 2^n, halves up; n is 0 to 31.
SPK_INLINE int32_t spk_ema(int32_t mean, int32_t x, uint32_t n) {
    return (int32_t)(mean + spk_shift_round64((int64_t)x - mean, n));
}

// v - v / 2^n, the quotient rounded away from zero; n is 0 to 31.
SPK_INLINE int32_t spk_decay(int32_t v, uint32_t n) {
    const uint32_t size = v < 0 ? 0u - (uint32_t)v : (uint32_t)v;
    const uint32_t kept = size - ((size >> n) + ((size & ((1u << n) - 1)) != 0));
    return (int32_t)(v < 0 ? 0u - kept : kept);
}

// Bits of x, 0 of 0: one or two instructions, or else, as spk_take_lowest, no call.
SPK_INLINE uint32_t spk_bit_length(uint32_t x) {
#if defined(__riscv_zbb) || defined(__ARM_FEATURE_CLZ) || !(defined(__riscv) || defined(__arm__))
    return x == 0 ? 0 : 32 - (uint32_t)__builtin_clz(x);
#else
    uint32_t length = 0;
    for (uint32_t n = 16; n != 0; n >>= 1) {
        if (x >> n != 0) {
            length += n;
            x >>= n;
        }
    }
    return length + x;
#endif
}

// Of x < 2^63; 0 of 0 and of what is negative.
SPK_INLINE uint32_t spk_bit_length64(int64_t x) {
    if (x <= 0) {
        return 0;
    }
    const uint32_t high = (uint32_t)((uint64_t)x >> 32);
    return high != 0 ? 32 + spk_bit_length(high) : spk_bit_length((uint32_t)x);
}

// Entry i of a table that ends at 2^16, and a part of the way to the next: rest is 0 to 255.
SPK_INLINE uint32_t spk_between(const uint16_t *table, uint32_t i, uint32_t rest) {
    const uint32_t low = table[i];
    const uint32_t high = i == 255 ? 1u << 16 : table[i + 1];
    return low + (((high - low) * rest + 128) >> 8);
}

// 2^x, both in Q16; 0 below -17, at most 2^32 - 1.
SPK_SHARED uint32_t spk_exp2(int32_t x) {
    const int32_t whole = x >> 16;
    const uint32_t power =
        (1u << 16) + spk_between(spk_exp2_table, ((uint32_t)x >> 8) & 255, (uint32_t)x & 255);
    if (whole > 15) {
        return UINT32_MAX;
    }
    if (whole >= 0) {
        return power << whole;
    }
    const uint32_t down = whole < -18 ? 18 : (uint32_t)-whole;
    return (power + ((1u << down) >> 1)) >> down;
}

// log2(x) in Q16 of 1 to 2^63 - 1; of 0 and of what is negative, -2^16.
SPK_SHARED int32_t spk_log2(int64_t x) {
    if (x <= 0) {
        return -(1 << 16);
    }
    const uint32_t whole = spk_bit_length64(x) - 1;
    const uint32_t scaled =
        whole >= 16 ? (uint32_t)(x >> (whole - 16)) : (uint32_t)x << (16 - whole);
    const uint32_t fraction = scaled - (1u << 16);
    return (int32_t)((whole << 16) + spk_between(spk_log2_table, fraction >> 8, fraction & 255));
}

// The largest integer whose square is at most x; 0 <= x < 2^62.
SPK_SHARED uint32_t spk_isqrt(int64_t x) {
    uint64_t rest = (uint64_t)x;
    uint64_t root = 0;
    for (uint64_t bit = (uint64_t)1 << 60; bit != 0; bit >>= 2) {
        if (rest >= root + bit) {
            rest -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
    }
    return (uint32_t)root;
}

// floor(total / n) with `fraction` bits behind the point, saturated; 1 <= n < 2^(32 - fraction).
SPK_INLINE int32_t spk_mean(int32_t total, uint32_t n, uint32_t fraction) {
    // ~total of a negative total is -total - 1: its quotient's complement is the floor.
    const uint32_t whole = (total < 0 ? ~(uint32_t)total : (uint32_t)total) / n;
    const int32_t floor = (int32_t)(total < 0 ? ~whole : whole);
    const uint32_t rest = (uint32_t)total - (uint32_t)floor * n;
    return spk_sat32((int64_t)((uint64_t)(int64_t)floor << fraction) + (rest << fraction) / n);
}

// a / b to the nearest integer, halves away from zero; 0 < b < 2^31.
SPK_INLINE int32_t spk_divide(int32_t a, int32_t b) {
    const uint32_t size = a < 0 ? 0u - (uint32_t)a : (uint32_t)a;
    const uint32_t quotient = (size + ((uint32_t)b >> 1)) / (uint32_t)b;
    return (int32_t)(a < 0 ? 0u - quotient : quotient);
}

// Index of the largest score (the first one wins) and in *lead how far it is above the second
// largest, saturated; with one class the lead is INT32_MAX.
SPK_INLINE uint32_t spk_margin(const int32_t *scores, uint32_t classes, int32_t *lead) {
    uint32_t best = 0;
    int32_t second = INT32_MIN;
    for (uint32_t c = 1; c < classes; c++) {
        if (scores[c] > scores[best]) {
            second = scores[best];
            best = c;
        } else if (scores[c] > second) {
            second = scores[c];
        }
    }
    *lead = classes == 1 ? INT32_MAX : spk_sat32((int64_t)scores[best] - second);
    return best;
}

#endif
