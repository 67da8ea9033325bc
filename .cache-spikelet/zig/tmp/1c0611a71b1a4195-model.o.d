/work/wt/me/.cache-spikelet/zig/tmp/1c0611a71b1a4195-model.o: \
  /tmp/pytest-of-root/pytest-336/popen-gw1/test_a_function_that_takes_mor0/model.c \
  /work/wt/me/firmware/include/spk_model.h \
  /work/main/.venv/lib/python3.11/site-packages/ziglang/lib/include/stdint.h
