// A C++17 program that owns the loop: the model's header is all that it knows.
#include "clouds.h"

#include <stdio.h>
#include <string.h>

namespace {
alignas(CLOUDS_ARENA_ALIGN) unsigned char buffer[CLOUDS_ARENA_BYTES + 1];

int failed = 0;

void expect(bool holds, const char *what) {
    if (!holds) {
        printf("failed: %s\n", what);
        failed = 1;
    }
}
} // namespace

int main() {
    expect(clouds_input(0) == nullptr, "no input before there is an arena");
    expect(clouds_invoke() == CLOUDS_ERROR_ARENA, "no inference before there is an arena");
    expect(clouds_init_in(nullptr, sizeof buffer) == CLOUDS_ERROR_ARENA, "no buffer");
    expect(clouds_init_in(buffer, CLOUDS_ARENA_BYTES - 1) == CLOUDS_ERROR_ARENA, "small");
    expect(clouds_init_in(buffer + 1, CLOUDS_ARENA_BYTES) == CLOUDS_ERROR_ARENA, "odd");
    expect(clouds_init_in(buffer, CLOUDS_ARENA_BYTES) == CLOUDS_OK, "the buffer is taken");

    expect(clouds_input(CLOUDS_INPUTS) == nullptr, "no such input");
    expect(clouds_output(CLOUDS_OUTPUTS) == nullptr, "no such output");
    memset(clouds_input_x(), 3, CLOUDS_INPUT_X_BYTES);
    expect(clouds_invoke() == CLOUDS_OK, "an inference");
    expect(clouds_step() == CLOUDS_ERROR_ARGUMENT, "no step behind the last");
    expect(clouds_learn(-1) == CLOUDS_ERROR_ARGUMENT, "no label below 0");
    expect(clouds_learn(CLOUDS_CLASSES) == CLOUDS_ERROR_ARGUMENT, "no such label");

    static unsigned char before[CLOUDS_STATE_BYTES], after[CLOUDS_STATE_BYTES];
    clouds_save(before);
    expect(clouds_learn(1) == CLOUDS_OK, "a step of learning");
    clouds_save(after);
    expect(memcmp(before, after, sizeof before) != 0, "it learned");
    expect(clouds_restore(before) == CLOUDS_OK, "back to what it was");
    clouds_save(after);
    expect(memcmp(before, after, sizeof before) == 0, "it is what it was");
    puts(failed ? "wrong" : "right");
    return failed;
}
