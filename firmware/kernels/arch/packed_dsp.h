// Weights of 1, 2 or 4 bits for Arm cores with the DSP extension (Cortex-M4, M7, M33).
// SPDX-License-Identifier: Apache-2.0
//
// Two channels share a 16-bit lane, so that one SMLAD multiplies two taps of both.
//
// 1 and 2 bits: a lane is low + 2^s * high with s = 16 - bits, the low field at its bottom, raised
// as packed.h says, the high one at its top, in two's complement. The sum of the low channel stays
// below 2^(s - 1) for a run of taps; it is then taken out, and what is left is 2^s * the high one.
// The fields of a word are such that each pair of lanes is one AND with the word rotated.
//
// 4 bits, two pixels: a lane is low + 256 * high, both raised, as in dsp.h. One vector: a lane
// holds four channels, the last in two's complement. SMLAD with all of it, with its low byte, and
// with the first and the third field alone, makes four sums of which those of the channels are
// made.
//
// 8 bits, an odd grid: a lane is low + 256 * high, the low field raised by 128. The upper bits of
// both are one AND.
#ifndef SPK_PACKED_DSP_H
#define SPK_PACKED_DSP_H

#include "kernels/arch/dsp.h"
#include "kernels/packed.h"

// Of two channels and two pixels.
struct spk_packed_two {
    int32_t low[2];
    int32_t high[2];
};

enum { SPK_PACKED_BLOCK = 16 }; // taps

// Taps after which the low sums are taken out; and the high ones, before they leave 32 bits.
SPK_INLINE uint32_t spk_packed_low_run(uint32_t bits) {
    return bits == 1 ? 112 : SPK_PACKED_BLOCK;
}

enum { SPK_PACKED_HIGH_RUN = 496 };

// The fields of both channels in two lanes.
SPK_INLINE uint32_t spk_packed_mask(uint32_t bits) {
    return bits == 1 ? 0x80018001u : bits == 2 ? 0xC003C003u : 0x0F0F0F0Fu;
}

// Takes the low sum out of both.
SPK_INLINE int32_t spk_packed_low(uint32_t bits, int32_t *both) {
    const int32_t low = (int32_t)((uint32_t)*both << (16 + bits)) >> (16 + bits);
    *both -= low;
    return low;
}

#define SPK_PACKED_LANES(rotated, first, second)                                                   \
    "and r10, %[mask], r9" rotated "\n"                                                            \
    "smlad %[a0], " first ", r10, %[a0]\n"                                                         \
    "smlad %[a1], " second ", r10, %[a1]\n"
#define SPK_PACKED_QUAD(rotated, more)                                                             \
    "ldmia %[words]!, {r4, r5, r6, r8}\n" SPK_PACKED_LANES(rotated, "r4", "r6")                    \
        SPK_PACKED_LANES(more, "r5", "r8")
#define SPK_PACKED_16_OF_1                                                                         \
    "ldr r9, [%[weights]], #4\n" SPK_PACKED_QUAD("", ", ror #2")                                   \
        SPK_PACKED_QUAD(", ror #4", ", ror #6") SPK_PACKED_QUAD(", ror #8", ", ror #10")           \
            SPK_PACKED_QUAD(", ror #12", ", ror #14")
#define SPK_PACKED_8_OF_2                                                                          \
    "ldr r9, [%[weights]], #4\n" SPK_PACKED_QUAD("", ", ror #4")                                   \
        SPK_PACKED_QUAD(", ror #8", ", ror #12")
#define SPK_PACKED_4_OF_4                                                                          \
    "ldr r9, [%[weights]], #4\n"                                                                   \
    "ldmia %[words]!, {r4, r5, r6, r8}\n"                                                          \
    "and r10, %[mask], r9\n"                                                                       \
    "and r9, %[mask], r9, lsr #4\n"                                                                \
    "smlad %[a0], r4, r10, %[a0]\n"                                                                \
    "smlad %[a1], r6, r10, %[a1]\n"                                                                \
    "uxtb16 r10, r10\n"                                                                            \
    "smlad %[a0], r5, r9, %[a0]\n"                                                                 \
    "smlad %[a1], r8, r9, %[a1]\n"                                                                 \
    "uxtb16 r9, r9\n"                                                                              \
    "smlad %[b0], r4, r10, %[b0]\n"                                                                \
    "smlad %[b1], r6, r10, %[b1]\n"                                                                \
    "smlad %[b0], r5, r9, %[b0]\n"                                                                 \
    "smlad %[b1], r8, r9, %[b1]\n"

#define SPK_PACKED_BLOCK_ASM(instructions)                                                         \
    __asm__ volatile(instructions                                                                  \
                     : [words] "+r"(words), [weights] "+r"(weights), [a0] "+r"(a0), [a1] "+r"(a1)  \
                     : [mask] "r"(mask)                                                            \
                     : "r4", "r5", "r6", "r8", "r9", "r10", "memory")

// A sum as its grid means it; more: what the sum of the inputs adds.
SPK_INLINE int32_t spk_packed_whole(struct spk_grid grid, int32_t sum, int32_t more) {
    return (int32_t)(grid.factor * (uint32_t)sum + (uint32_t)more);
}

// The sum of a high channel from that of low + 256 * high.
SPK_INLINE int32_t spk_packed_above(int32_t both, int32_t low) {
    return (int32_t)((uint32_t)both - (uint32_t)low) >> 8;
}

// The earlier of two ends.
SPK_INLINE const uint32_t *spk_packed_end(const uint32_t *a, const uint32_t *b) {
    return a < b ? a : b;
}

// Two channels of two pixels, of 1 or 2 bits; answers the end of the weights. words: (taps / 4, 2
// pixels, 2) up to `end`, taps by sixteens; weights: of 1 bit 16 taps a word, of 2 bits 8.
SPK_INLINE const uint32_t *spk_packed_dsp_fields(uint32_t bits, const uint32_t *words,
                                                 const uint32_t *end, const uint32_t *weights,
                                                 struct spk_packed_two *sums) {
    const uint32_t mask = spk_packed_mask(bits);
    int32_t low0 = 0, low1 = 0, high0 = 0, high1 = 0;
    do {
        const uint32_t *const high = spk_packed_end(words + SPK_PACKED_HIGH_RUN, end);
        int32_t a0 = 0;
        int32_t a1 = 0;
        do {
            if (bits == 1) {
                const uint32_t *const low = spk_packed_end(words + spk_packed_low_run(1), high);
                do {
                    SPK_PACKED_BLOCK_ASM(SPK_PACKED_16_OF_1);
                } while (words < low);
            } else {
                SPK_PACKED_BLOCK_ASM(SPK_PACKED_8_OF_2 SPK_PACKED_8_OF_2);
            }
            low0 += spk_packed_low(bits, &a0);
            low1 += spk_packed_low(bits, &a1);
        } while (words < high);
        high0 += a0 >> (16 - bits);
        high1 += a1 >> (16 - bits);
    } while (words < end);
    *sums = (struct spk_packed_two){{low0, low1}, {high0, high1}};
    return weights;
}

// The same of 4 bits, 4 taps a word.
SPK_INLINE const uint32_t *spk_packed_dsp_bytes(const uint32_t *words, const uint32_t *end,
                                                const uint32_t *weights,
                                                struct spk_packed_two *sums) {
    const uint32_t mask = spk_packed_mask(4);
    int32_t a0 = 0, a1 = 0, b0 = 0, b1 = 0;
    do {
        __asm__ volatile(SPK_PACKED_4_OF_4 SPK_PACKED_4_OF_4 SPK_PACKED_4_OF_4 SPK_PACKED_4_OF_4
                         : [words] "+r"(words), [weights] "+r"(weights), [a0] "+r"(a0),
                           [a1] "+r"(a1), [b0] "+r"(b0), [b1] "+r"(b1)
                         : [mask] "r"(mask)
                         : "r4", "r5", "r6", "r8", "r9", "r10", "memory");
    } while (words < end);
    *sums = (struct spk_packed_two){{b0, b1}, {(a0 - b0) >> 8, (a1 - b1) >> 8}};
    return weights;
}

#define SPK_PACKED_HALF_OF_8(weights, first, second)                                               \
    "smlad %[a0], " first ", " weights ", %[a0]\n"                                                 \
    "smlad %[a1], " second ", " weights ", %[a1]\n"                                                \
    "uxtb16 " weights ", " weights "\n"                                                            \
    "smlad %[b0], " first ", " weights ", %[b0]\n"                                                 \
    "smlad %[b1], " second ", " weights ", %[b1]\n"
#define SPK_PACKED_4_OF_8(keep)                                                                    \
    "ldmia %[weights]!, {r9, r10}\n"                                                               \
    "ldmia %[words]!, {r4, r5, r6, r8}\n" keep SPK_PACKED_HALF_OF_8("r9", "r4", "r6")              \
        SPK_PACKED_HALF_OF_8("r10", "r5", "r8")
#define SPK_PACKED_KEEP(mask) "and r9, r9, #" mask "\nand r10, r10, #" mask "\n"
#define SPK_PACKED_16_OF_8(keep)                                                                   \
    __asm__ volatile(SPK_PACKED_4_OF_8(keep) SPK_PACKED_4_OF_8(keep) SPK_PACKED_4_OF_8(keep)       \
                         SPK_PACKED_4_OF_8(keep)                                                   \
                     : [words] "+r"(words), [weights] "+r"(weights), [a0] "+r"(a0), [a1] "+r"(a1), \
                       [b0] "+r"(b0), [b1] "+r"(b1)                                                \
                     :                                                                             \
                     : "r4", "r5", "r6", "r8", "r9", "r10", "memory")

// The same of 8 bits, 2 taps a word. A sum of the high channel has 24 bits.
SPK_INLINE const uint32_t *spk_packed_dsp_eights(uint32_t upper, const uint32_t *words,
                                                 const uint32_t *end, const uint32_t *weights,
                                                 struct spk_packed_two *sums) {
    *sums = (struct spk_packed_two){{0, 0}, {0, 0}};
    do {
        const uint32_t *const high = spk_packed_end(words + SPK_PACKED_HIGH_RUN, end);
        int32_t a0 = 0, a1 = 0, b0 = 0, b1 = 0;
        do {
            if (upper == 8) {
                SPK_PACKED_16_OF_8("");
            } else if (upper == 4) {
                SPK_PACKED_16_OF_8(SPK_PACKED_KEEP("0xF0F0F0F0"));
            } else if (upper == 2) {
                SPK_PACKED_16_OF_8(SPK_PACKED_KEEP("0xC0C0C0C0"));
            } else {
                SPK_PACKED_16_OF_8(SPK_PACKED_KEEP("0x80808080"));
            }
        } while (words < high);
        sums->low[0] += b0;
        sums->low[1] += b1;
        sums->high[0] += spk_packed_above(a0, b0);
        sums->high[1] += spk_packed_above(a1, b1);
    } while (words < end);
    return weights;
}

// In functions of their own: the sums have the registers for themselves.
#define SPK_PACKED_DSP_SUMS(name, bits, upper)                                                     \
    SPK_SHARED const uint32_t *spk_packed_dsp_##name(const uint32_t *words, const uint32_t *end,   \
                                                     const uint32_t *weights,                      \
                                                     struct spk_packed_two *sums) {                \
        return bits == 8   ? spk_packed_dsp_eights(upper, words, end, weights, sums)               \
               : bits == 4 ? spk_packed_dsp_bytes(words, end, weights, sums)                       \
                           : spk_packed_dsp_fields(bits, words, end, weights, sums);               \
    }

SPK_PACKED_DSP_SUMS(1, 1, 8)
SPK_PACKED_DSP_SUMS(2, 2, 8)
SPK_PACKED_DSP_SUMS(4, 4, 8)
SPK_PACKED_DSP_SUMS(8, 8, 8)
SPK_PACKED_DSP_SUMS(8_upper4, 8, 4)
SPK_PACKED_DSP_SUMS(8_upper2, 8, 2)
SPK_PACKED_DSP_SUMS(8_upper1, 8, 1)

SPK_INLINE const uint32_t *spk_packed_dsp_sums(uint32_t bits, uint32_t upper, const uint32_t *words,
                                               const uint32_t *end, const uint32_t *weights,
                                               struct spk_packed_two *sums) {
    return bits == 1    ? spk_packed_dsp_1(words, end, weights, sums)
           : bits == 2  ? spk_packed_dsp_2(words, end, weights, sums)
           : bits == 4  ? spk_packed_dsp_4(words, end, weights, sums)
           : upper == 8 ? spk_packed_dsp_8(words, end, weights, sums)
           : upper == 4 ? spk_packed_dsp_8_upper4(words, end, weights, sums)
           : upper == 2 ? spk_packed_dsp_8_upper2(words, end, weights, sums)
                        : spk_packed_dsp_8_upper1(words, end, weights, sums);
}

// Codes of two pixels into (taps / 4, 2 pixels, 4) int16, in the order 0, 2, 1, 3. n: by fours.
SPK_INLINE void spk_packed_dsp_quads(uint32_t *to, const int8_t *first, const int8_t *second,
                                     uint32_t n) {
    const int8_t *const end = first + n;
    __asm__ volatile("1:\n"
                     "ldr r4, [%[first]], #4\n"
                     "ldr r6, [%[second]], #4\n"
                     "sxtb16 r5, r4, ror #8\n"
                     "sxtb16 r4, r4\n"
                     "sxtb16 r8, r6, ror #8\n"
                     "sxtb16 r6, r6\n"
                     "stmia %[to]!, {r4, r5, r6, r8}\n"
                     "cmp %[first], %[end]\n"
                     "bcc 1b\n"
                     : [to] "+r"(to), [first] "+r"(first), [second] "+r"(second)
                     : [end] "r"(end)
                     : "r4", "r5", "r6", "r8", "cc", "memory");
}

#define SPK_PACKED_INPUTS                                                                          \
    "ldmia %[words]!, {r4, r5, r6, r8}\n"                                                          \
    "smlad %[a], r4, %[ones], %[a]\n"                                                              \
    "smlad %[b], r6, %[ones], %[b]\n"                                                              \
    "smlad %[a], r5, %[ones], %[a]\n"                                                              \
    "smlad %[b], r8, %[ones], %[b]\n"

// Sums of the inputs of two pixels. words: as above.
SPK_INLINE void spk_packed_dsp_inputs(const uint32_t *words, const uint32_t *end, int32_t *sums) {
    int32_t a = 0;
    int32_t b = 0;
    do {
        __asm__ volatile(SPK_PACKED_INPUTS SPK_PACKED_INPUTS SPK_PACKED_INPUTS SPK_PACKED_INPUTS
                         : [words] "+r"(words), [a] "+r"(a), [b] "+r"(b)
                         : [ones] "r"(0x00010001u)
                         : "r4", "r5", "r6", "r8", "memory");
    } while (words < end);
    sums[0] = a;
    sums[1] = b;
}

// Sum of n codes, read up to the next multiple of four.
SPK_INLINE int32_t spk_packed_dsp_total(const int8_t *x, uint32_t n) {
    const uint32_t ones = 0x00010001u;
    const int8_t *const end = x + (n & ~3u);
    int32_t sum = 0;
    for (; x != end; x += 4) {
        uint32_t word;
        __builtin_memcpy(&word, x, 4);
        sum = spk_smlad(spk_sxtb16(word), ones, spk_smlad(spk_sxtb16_high(word), ones, sum));
    }
    for (uint32_t left = n & 3; left > 0; left--) {
        sum += *x++;
    }
    return sum;
}

#define SPK_PACKED_DOT_LANES(rotated, x)                                                           \
    "and r9, %[mask], r6" rotated "\n"                                                             \
    "smlad %[a0], " x ", r9, %[a0]\n"                                                              \
    "and r9, %[mask], r8" rotated "\n"                                                             \
    "smlad %[a1], " x ", r9, %[a1]\n"
#define SPK_PACKED_DOT_QUAD(rotated, more)                                                         \
    "ldr r5, [%[x]], #4\n"                                                                         \
    "sxtb16 r4, r5\n"                                                                              \
    "sxtb16 r5, r5, ror #8\n" SPK_PACKED_DOT_LANES(rotated, "r4") SPK_PACKED_DOT_LANES(more, "r5")
#define SPK_PACKED_DOT_LOAD "ldmia %[weights]!, {r6, r8}\n"
#define SPK_PACKED_DOT_8_OF_1                                                                      \
    SPK_PACKED_DOT_LOAD SPK_PACKED_DOT_QUAD("", ", ror #2")                                        \
        SPK_PACKED_DOT_QUAD(", ror #4", ", ror #6")
#define SPK_PACKED_DOT_16_OF_1                                                                     \
    SPK_PACKED_DOT_8_OF_1 SPK_PACKED_DOT_QUAD(", ror #8", ", ror #10")                             \
        SPK_PACKED_DOT_QUAD(", ror #12", ", ror #14")
#define SPK_PACKED_DOT_8_OF_2                                                                      \
    SPK_PACKED_DOT_LOAD SPK_PACKED_DOT_QUAD("", ", ror #4")                                        \
        SPK_PACKED_DOT_QUAD(", ror #8", ", ror #12")
#define SPK_PACKED_DOT(instructions)                                                               \
    __asm__ volatile(instructions                                                                  \
                     : [x] "+r"(x), [weights] "+r"(w), [a0] "+r"(a0), [a1] "+r"(a1)                \
                     : [mask] "r"(mask)                                                            \
                     : "r4", "r5", "r6", "r8", "r9", "memory")

// Four channels of one vector, of 1 or 2 bits; the inputs of a quad in the order 0, 2, 1, 3, read
// up to the next multiple of eight. weights: of 1 bit two words, of the first two channels and the
// others, for 16 inputs; of 2 bits for 8; *weights moves on.
SPK_INLINE void spk_packed_dsp_dot_fields(uint32_t bits, const int8_t *x, uint32_t n,
                                          const uint32_t **weights, int32_t *sum) {
    const uint32_t *w = *weights;
    const uint32_t mask = spk_packed_mask(bits);
    const int8_t *const end = x + ((n + 7) & ~7u);
    int32_t low0 = 0, low1 = 0, high0 = 0, high1 = 0;
    do {
        const int8_t *const high = x + spk_min_u32(SPK_PACKED_HIGH_RUN, (uint32_t)(end - x));
        int32_t a0 = 0;
        int32_t a1 = 0;
        do {
            const int8_t *const low =
                x + spk_min_u32(spk_packed_low_run(bits), (uint32_t)(high - x));
            while (low - x >= SPK_PACKED_BLOCK) {
                if (bits == 1) {
                    SPK_PACKED_DOT(SPK_PACKED_DOT_16_OF_1);
                } else {
                    SPK_PACKED_DOT(SPK_PACKED_DOT_8_OF_2 SPK_PACKED_DOT_8_OF_2);
                }
            }
            if (x != low) {
                if (bits == 1) {
                    SPK_PACKED_DOT(SPK_PACKED_DOT_8_OF_1);
                } else {
                    SPK_PACKED_DOT(SPK_PACKED_DOT_8_OF_2);
                }
            }
            low0 += spk_packed_low(bits, &a0);
            low1 += spk_packed_low(bits, &a1);
        } while (x != high);
        high0 += a0 >> (16 - bits);
        high1 += a1 >> (16 - bits);
    } while (x != end);
    *weights = w;
    sum[0] = low0;
    sum[1] = high0;
    sum[2] = low1;
    sum[3] = high1;
}

#define SPK_PACKED_DOT_PAIR(word, x)                                                               \
    "smlad %[all], " x ", " word ", %[all]\n"                                                      \
    "and r9, " word ", #0x000F000F\n"                                                              \
    "smlad %[first], " x ", r9, %[first]\n"                                                        \
    "and r9, " word ", #0x0F000F00\n"                                                              \
    "smlad %[third], " x ", r9, %[third]\n"                                                        \
    "uxtb16 " word ", " word "\n"                                                                  \
    "smlad %[two], " x ", " word ", %[two]\n"
#define SPK_PACKED_DOT_4_OF_4                                                                      \
    "ldr r5, [%[x]], #4\n" SPK_PACKED_DOT_LOAD "sxtb16 r4, r5\n"                                   \
    "sxtb16 r5, r5, ror #8\n" SPK_PACKED_DOT_PAIR("r6", "r4") SPK_PACKED_DOT_PAIR("r8", "r5")

// The same of 4 bits: a word holds four channels of two inputs.
SPK_INLINE void spk_packed_dsp_dot_fours(const int8_t *x, uint32_t n, const uint32_t **weights,
                                         int32_t *sum) {
    const uint32_t *w = *weights;
    const int8_t *const end = x + ((n + 7) & ~7u);
    sum[0] = sum[1] = sum[2] = sum[3] = 0;
    do {
        const int8_t *const stop = x + spk_min_u32(SPK_PACKED_HIGH_RUN, (uint32_t)(end - x));
        int32_t all = 0, two = 0, first = 0, third = 0;
        __asm__ volatile("1:\n" SPK_PACKED_DOT_4_OF_4 SPK_PACKED_DOT_4_OF_4 "cmp %[x], %[end]\n"
                         "bcc 1b\n"
                         : [x] "+r"(x), [weights] "+r"(w), [all] "+r"(all), [two] "+r"(two),
                           [first] "+r"(first), [third] "+r"(third)
                         : [end] "r"(stop)
                         : "r4", "r5", "r6", "r8", "r9", "cc", "memory");
        sum[0] += first;
        sum[1] += (two - first) >> 4;
        sum[2] += third >> 8;
        sum[3] += (all - two - third) >> 12;
    } while (x != end);
    *weights = w;
}

#define SPK_PACKED_DOT_4_OF_8(keep)                                                                \
    "ldr r5, [%[x]], #4\n"                                                                         \
    "ldmia %[weights]!, {r6, r8, r9, r10}\n"                                                       \
    "sxtb16 r4, r5\n"                                                                              \
    "sxtb16 r5, r5, ror #8\n" keep "smlad %[a0], r4, r6, %[a0]\n"                                  \
    "smlad %[a1], r4, r8, %[a1]\n"                                                                 \
    "uxtb16 r6, r6\n"                                                                              \
    "uxtb16 r8, r8\n"                                                                              \
    "smlad %[a0], r5, r9, %[a0]\n"                                                                 \
    "smlad %[a1], r5, r10, %[a1]\n"                                                                \
    "uxtb16 r9, r9\n"                                                                              \
    "uxtb16 r10, r10\n"                                                                            \
    "smlad %[b0], r4, r6, %[b0]\n"                                                                 \
    "smlad %[b1], r4, r8, %[b1]\n"                                                                 \
    "smlad %[b0], r5, r9, %[b0]\n"                                                                 \
    "smlad %[b1], r5, r10, %[b1]\n"
#define SPK_PACKED_DOT_KEEP(mask)                                                                  \
    SPK_PACKED_KEEP(mask) "and r6, r6, #" mask "\nand r8, r8, #" mask "\n"
#define SPK_PACKED_DOT_8_OF_8(keep)                                                                \
    __asm__ volatile("1:\n" SPK_PACKED_DOT_4_OF_8(keep)                                            \
                         SPK_PACKED_DOT_4_OF_8(keep) "cmp %[x], %[end]\n"                          \
                                                     "bcc 1b\n"                                    \
                     : [x] "+r"(x), [weights] "+r"(w), [a0] "+r"(a0), [a1] "+r"(a1),               \
                       [b0] "+r"(b0), [b1] "+r"(b1)                                                \
                     : [end] "r"(stop)                                                             \
                     : "r4", "r5", "r6", "r8", "r9", "r10", "cc", "memory")

// The same of 8 bits: (inputs / 2, 2 pairs of channels) words.
SPK_INLINE void spk_packed_dsp_dot_eights(uint32_t upper, const int8_t *x, uint32_t n,
                                          const uint32_t **weights, int32_t *sum) {
    const uint32_t *w = *weights;
    const int8_t *const end = x + ((n + 7) & ~7u);
    sum[0] = sum[1] = sum[2] = sum[3] = 0;
    do {
        const int8_t *const stop = x + spk_min_u32(SPK_PACKED_HIGH_RUN, (uint32_t)(end - x));
        int32_t a0 = 0, a1 = 0, b0 = 0, b1 = 0;
        if (upper == 8) {
            SPK_PACKED_DOT_8_OF_8("");
        } else if (upper == 4) {
            SPK_PACKED_DOT_8_OF_8(SPK_PACKED_DOT_KEEP("0xF0F0F0F0"));
        } else if (upper == 2) {
            SPK_PACKED_DOT_8_OF_8(SPK_PACKED_DOT_KEEP("0xC0C0C0C0"));
        } else {
            SPK_PACKED_DOT_8_OF_8(SPK_PACKED_DOT_KEEP("0x80808080"));
        }
        sum[0] += b0;
        sum[1] += spk_packed_above(a0, b0);
        sum[2] += b1;
        sum[3] += spk_packed_above(a1, b1);
    } while (x != end);
    *weights = w;
}

#endif
