// The least that newlib with semihosting needs to run main() on a Cortex-M4 in QEMU.
#include <stdlib.h>

extern char stack[], bss_begin[], bss_end[];
int main(void);
void initialise_monitor_handles(void);
void reset(void);
void _init(void);
void _fini(void);

void reset(void) {
    for (char *byte = bss_begin; byte < bss_end; byte++) {
        *byte = 0;
    }
    initialise_monitor_handles();
    exit(main());
}

void _init(void) {
}

void _fini(void) {
}

__attribute__((section(".vectors"), used)) static void (*const vectors[])(void) = {
    (void (*)(void))(void *)stack, reset, abort, abort};
