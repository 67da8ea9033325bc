/work/wt/me/.cache-spikelet/zig/tmp/d8e61886d08c0713-model.o: \
  /tmp/pytest-of-root/pytest-336/popen-gw0/test_flags_for_another_core_th0/out/model.c
