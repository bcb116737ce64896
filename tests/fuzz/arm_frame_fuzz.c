/* Answers of ARM on the connections for polls: a complete one stays inside its input, keeps its limit, and
 * is not complete any byte earlier. */
#include "arm/frame.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BODY_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf joined = {0}, again = {0};
    struct arm_frame f, cut;
    struct bytes line;
    if (arm_frame_read(BYTES(data, size), BODY_MAX, &joined, &f) == ARM_FRAME_DONE) {
        assert(f.status >= 200 && f.status < 600);
        assert(f.body.len <= BODY_MAX);
        while (arm_frame_line(&f.head, &line))
            assert(line.len > 2 && line.data >= data && line.data + line.len <= data + size);
        assert(f.head.len == 0);
        if (f.keep)
            assert(arm_frame_read(BYTES(data, size - 1), BODY_MAX, &again, &cut) == ARM_FRAME_MORE);
    }
    buf_free(&joined);
    buf_free(&again);
    return 0;
}
