/work/wt/me/.cache-spikelet/zig/tmp/84d4ac281250d102-model.o: \
  /tmp/pytest-of-root/pytest-272/test_a_function_that_takes_mor0/model.c \
  /work/wt/me/firmware/include/spk_model.h \
  /work/main/.venv/lib/python3.11/site-packages/ziglang/lib/include/stdint.h
