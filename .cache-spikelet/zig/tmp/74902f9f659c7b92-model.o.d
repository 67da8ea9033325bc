/work/wt/me/.cache-spikelet/zig/tmp/74902f9f659c7b92-model.o: \
  /tmp/pytest-of-root/pytest-336/popen-gw0/test_a_compile_error_shows_the0/model/model.c \
  /work/wt/me/firmware/include/spk_board.h \
  /work/main/.venv/lib/python3.11/site-packages/ziglang/lib/include/stdint.h \
  /work/wt/me/firmware/include/spk_model.h
