// The tensors of model_echo.c by name: what they may hold is said by name, not by their table.
// SPDX-License-Identifier: Apache-2.0
enum { NAMES = 64, UNKNOWN = 255 };
enum { GATE, BOMB, REAL, RING, WANTED, LABEL, COMMITS, LEVEL, WEIGHT, HALF, ZERO };

// Which of the names above a tensor has; looked up once, as it is asked of each of them all the
// time.
UNWATCHED static uint8_t name_of(const struct spk_tensor *tensor) {
    static const char *const names[] = {
        [GATE] = "gate",     [BOMB] = "bomb",   [REAL] = "real",       [RING] = "ring",
        [WANTED] = "wanted", [LABEL] = "label", [COMMITS] = "commits", [LEVEL] = "level",
        [WEIGHT] = "weight", [HALF] = "half",   [ZERO] = "zero",
    };
    static uint8_t known[NAMES]; // 1 + its name
    uint8_t *name = &known[tensor - spk_model.tensors];

    CHECK(name < known + NAMES);
    if (*name == 0) {
        *name = UNKNOWN;
        for (uint8_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            if (strcmp(tensor->name, names[i]) == 0) {
                *name = (uint8_t)(1 + i);
            }
        }
    }
    return (uint8_t)(*name - 1);
}

UNWATCHED static int named(const struct spk_tensor *tensor, uint8_t name) {
    return name_of(tensor) == name;
}
