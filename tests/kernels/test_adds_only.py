"""Products of a core without a multiplier, made by additions, against those of this computer."""

from __future__ import annotations

import subprocess
from pathlib import Path

from spikelet.paths import firmware_dir
from support import need

PROGRAM = """
#define SPK_ADDS_ONLY
#include "kernels/requantise.h"
#include <stdio.h>

static const int32_t ends[] = {0, 1, 2, 3, 7, 8, 1 << 15, (1 << 21) - 1, (1 << 29) - 1, 1 << 29,
                               (1 << 30) - 1};
static const int32_t multipliers[] = {0, 1, 2, 0x3FFFFFFF, 1 << 30, 1500000000, INT32_MAX};
static uint32_t state = 1;

static int differs(int32_t x, int32_t m) {
    const int64_t exact = (int64_t)x * m;
    const uint32_t size = (uint32_t)x;
    return spk_times(x, m >> 23) != (int32_t)((uint32_t)x * (uint32_t)(m >> 23)) ||
           spk_times(x, -(m >> 23)) != (int32_t)((uint32_t)x * (uint32_t) - (m >> 23)) ||
           spk_product_30(x, m) != (int32_t)(exact >> 30) || spk_signed_product(x, m) != exact ||
           spk_signed_product(x, -m) != -exact || spk_signed_product(-m, x) != -exact ||
           spk_signed_product(x, INT32_MIN) != x * (int64_t)INT32_MIN ||
           spk_product(size, 1u << 31) != (uint64_t)size << 31 ||
           spk_product(size, (uint32_t)m) != (uint64_t)size * (uint32_t)m ||
           spk_product(~size, (uint32_t)m) != (uint64_t)~size * (uint32_t)m;
}

int main(void) {
    int wrong = 0;
    for (uint32_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        for (uint32_t k = 0; k < sizeof multipliers / sizeof *multipliers; k++) {
            wrong += differs(ends[i], multipliers[k]) + differs(-ends[i], multipliers[k]);
        }
    }
    for (int i = 0; i < 200000; i++) {
        state = spk_xorshift32(state);
        const uint32_t bits = state >> 3 & 31;
        state = spk_xorshift32(state);
        const int32_t x = (int32_t)state >> 1 >> (bits < 30 ? bits : 29);
        state = spk_xorshift32(state);
        wrong += differs(x == INT32_MIN / 2 ? 0 : x, (int32_t)(state >> 1));
    }
    printf("%d", wrong);
    return 0;
}
"""


def test_products_by_additions_are_exact(tmp_path: Path) -> None:
    need("gcc")
    source, program = tmp_path / "products.c", tmp_path / "products"
    source.write_text(PROGRAM)
    flags = ["-O1", "-std=c11", "-Wall", "-Werror", "-fsanitize=undefined", f"-I{firmware_dir()}"]
    subprocess.run(["gcc", *flags, str(source), "-o", str(program)], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0", "")
