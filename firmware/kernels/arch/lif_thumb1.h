// Neurons with 16 bits of state on Arm cores with the small instruction set: see lif.h, "quick".
// SPDX-License-Identifier: Apache-2.0
//
// One offset serves all arrays, and the carry does the rounding: ASRS leaves there the bit that
// "nearest" adds, CMN the sign that "toward zero" adds to an odd leak's floor. Seven low registers
// are needed, of the eight that there are, which compilers do not manage from C.
#ifndef SPK_LIF_THUMB1_H
#define SPK_LIF_THUMB1_H

// Whether the convention is one of those below.
SPK_INLINE bool spk_lif_suits(const struct spk_lif *c) {
    const bool late = c->timing != SPK_SAME_STEP && c->reset != SPK_RESET_NONE;
    return !c->leaks && c->reset != SPK_RESET_VALUE &&
           (!late || c->timing == SPK_NEXT_STEP || c->reset == SPK_RESET_SUBTRACT);
}

// clang-format off
// Goes on at `label` if the threshold in `own`, or the one of all, is not reached by what is in v.
#define SPK_LIF_THUMB1_COMPARE(own, v, label)                                                      \
    ".if %c[array]\n"                                                                              \
    "cmp " own ", " v "\n"                                                                         \
    ".else\n"                                                                                      \
    "cmp %[t], " v "\n"                                                                            \
    ".endif\n"                                                                                     \
    ".if %c[inclusive]\n"                                                                          \
    "bgt " label "\n"                                                                              \
    ".else\n"                                                                                      \
    "bge " label "\n"                                                                              \
    ".endif\n"

#define SPK_LIF_THUMB1_INPUT(to)                                                                   \
    "ldrsh " to ", [%[x], %[i]]\n"                                                                 \
    ".if %c[shift]\n"                                                                              \
    "lsls " to ", " to ", #%c[shift]\n"                                                            \
    ".endif\n"

// The membrane in a and the input in b, less what a spike of the step before takes off.
#define SPK_LIF_THUMB1_HELD                                                                        \
    ".if !%c[late]\n"                                                                              \
    "ldrsh %[a], [%[v], %[i]]\n"                                                                   \
    SPK_LIF_THUMB1_INPUT("%[b]")                                                                   \
    ".elseif %c[takes] && !%c[array]\n"                                                            \
    SPK_LIF_THUMB1_INPUT("%[b]")                                                                   \
    "ldrsh %[a], [%[v], %[i]]\n"                                                                   \
    SPK_LIF_THUMB1_COMPARE("", "%[a]", "1f")                                                       \
    "subs %[b], %[b], %[t]\n"                                                                      \
    "1:\n"                                                                                         \
    ".else\n"                                                                                      \
    ".if %c[array]\n"                                                                              \
    "ldrsh %[b], [%[t], %[i]]\n"                                                                   \
    ".endif\n"                                                                                     \
    "ldrsh %[a], [%[v], %[i]]\n"                                                                   \
    SPK_LIF_THUMB1_COMPARE("%[b]", "%[a]", "1f")                                                   \
    ".if %c[takes]\n"                                                                              \
    SPK_LIF_THUMB1_INPUT("%[a]")                                                                   \
    "subs %[b], %[a], %[b]\n"                                                                      \
    "ldrsh %[a], [%[v], %[i]]\n"                                                                   \
    "b 3f\n"                                                                                       \
    ".else\n"                                                                                      \
    "movs %[a], #0\n"                                                                              \
    ".endif\n"                                                                                     \
    "1:\n"                                                                                         \
    SPK_LIF_THUMB1_INPUT("%[b]")                                                                   \
    "3:\n"                                                                                         \
    ".endif\n"

#define SPK_LIF_THUMB1_KEPT                                                                        \
    SPK_LIF_THUMB1_HELD                                                                            \
    ".if %c[leaks]\n"                                                                              \
    "muls %[a], %[leak], %[a]\n"                                                                   \
    "asrs %[a], %[a], #15\n"                                                                       \
    ".endif\n"                                                                                     \
    ".if %c[zero]\n"                                                                               \
    "cmn %[a], %[a]\n"                                                                             \
    ".endif\n"                                                                                     \
    ".if %c[carry]\n"                                                                              \
    "adcs %[b], %[b], %[a]\n"                                                                      \
    ".else\n"                                                                                      \
    "adds %[b], %[b], %[a]\n"                                                                      \
    ".endif\n"

#define SPK_LIF_THUMB1_SPIKE(k)                                                                    \
    ".if %c[array]\n"                                                                              \
    "ldrsh %[a], [%[t], %[i]]\n"                                                                   \
    ".endif\n"                                                                                     \
    SPK_LIF_THUMB1_COMPARE("%[a]", "%[b]", "2f")                                                   \
    ".if %c[subtract] && %c[array]\n"                                                              \
    "subs %[b], %[b], %[a]\n"                                                                      \
    ".elseif %c[subtract]\n"                                                                       \
    "subs %[b], %[b], %[t]\n"                                                                      \
    ".elseif %c[rests]\n"                                                                          \
    "movs %[b], #0\n"                                                                              \
    ".endif\n"                                                                                     \
    ".if " k " < 8\n"                                                                              \
    "movs %[a], #1 << " k "\n"                                                                     \
    ".else\n"                                                                                      \
    "movs %[a], #1\n"                                                                              \
    "lsls %[a], %[a], #" k "\n"                                                                    \
    ".endif\n"                                                                                     \
    "add %[bits], %[a]\n"                                                                          \
    "2:\n"                                                                                         \
    "strh %[b], [%[v], %[i]]\n"                                                                    \
    "adds %[i], #2\n"

// Repeated here and not by the assembler: compilers count lines to know how far constants may lie.
#define SPK_LIF_THUMB1_ONE(k)                                                                      \
    ".if " k " < %c[count]\n" SPK_LIF_THUMB1_KEPT SPK_LIF_THUMB1_SPIKE(k) ".endif\n"
#define SPK_LIF_THUMB1_FOUR(a, b, c, d)                                                            \
    SPK_LIF_THUMB1_ONE(a) SPK_LIF_THUMB1_ONE(b) SPK_LIF_THUMB1_ONE(c) SPK_LIF_THUMB1_ONE(d)
// clang-format on

// `count` neurons, a constant, at most 16; answers their spikes from bit 0 up.
// x, v, thresholds: (count,); thresholds may be 0.
SPK_INLINE uint32_t spk_lif_some(const struct spk_lif *c, uint32_t count, const int16_t *x,
                                 int16_t *v, const int16_t *thresholds, const uint16_t *own_leaks) {
    (void)own_leaks;
    const bool leaks = c->leak != 1u << 15;
    const bool now = c->timing == SPK_SAME_STEP;
    const uint32_t t = c->threshold ? (uint32_t)thresholds : (uint32_t)c->threshold_all;
    const uint32_t leak = c->leak;
    uint32_t bits = 0;
    uint32_t i = 0;
    uint32_t a;
    uint32_t b;
    __asm__ volatile(
        ".syntax unified\n" SPK_LIF_THUMB1_FOUR("0", "1", "2", "3")
            SPK_LIF_THUMB1_FOUR("4", "5", "6", "7") SPK_LIF_THUMB1_FOUR("8", "9", "10", "11")
                SPK_LIF_THUMB1_FOUR("12", "13", "14", "15")
        : [bits] "+h"(bits), [i] "+l"(i), [a] "=&l"(a), [b] "=&l"(b)
        : [x] "l"(x), [v] "l"(v), [t] "l"(t), [leak] "l"(leak), [count] "i"(count),
          [array] "i"(c->threshold != 0), [inclusive] "i"(c->inclusive), [leaks] "i"(leaks),
          [shift] "i"(c->input_shift), [zero] "i"(leaks && c->rounding == SPK_TOWARD_ZERO),
          [carry] "i"(leaks && c->rounding != SPK_FLOOR),
          [late] "i"(!now && c->reset != SPK_RESET_NONE),
          [takes] "i"(!now && c->reset == SPK_RESET_SUBTRACT),
          [subtract] "i"(now && c->reset == SPK_RESET_SUBTRACT),
          [rests] "i"(now && c->reset == SPK_RESET_ZERO)
        : "cc", "memory");
    return bits;
}

#endif
