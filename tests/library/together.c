// Three models, one of which learns, in one arena: what each computes stays its own.
#include <stdint.h>
#include <stdio.h>

uint32_t shared[SHARED_BYTES / 4];

#define DECLARE(name)                                                                              \
    unsigned long name##_wrong(int i);                                                             \
    int name##_begin(void)
DECLARE(digits_snn);
DECLARE(kws);
DECLARE(clouds);

int main(void) {
    unsigned long wrong = 0;

    if (digits_snn_begin() || kws_begin() || clouds_begin()) {
        return 2;
    }
    for (int i = 0; i < 8; i++) {
        wrong += digits_snn_wrong(i) + clouds_wrong(i) + kws_wrong(i);
    }
    printf("together: %lu wrong\n", wrong);
    return wrong != 0;
}
