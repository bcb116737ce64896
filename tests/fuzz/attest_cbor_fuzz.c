/* Evidence as CBOR. What is accepted comes out again as the same bytes: there is one encoding. */
#include "attest/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The encoder's order of members is its own, so a second round must repeat the first. */
static void round_trip(const struct evidence *ev, struct arena *a)
{
    struct buf first = {0}, second = {0};
    struct evidence again;
    wire_encode_cbor(ev, &first);
    if (wire_decode_cbor(buf_bytes(&first), WIRE_OFFLINE, a, &again, NULL))
        abort();
    wire_encode_cbor(&again, &second);
    if (!bytes_equal(buf_bytes(&first), buf_bytes(&second)))
        abort();
    buf_free(&first);
    buf_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new();
    struct evidence ev;
    struct err_info e = {0};
    if (!wire_decode_cbor(BYTES(data, size), WIRE_OFFLINE, a, &ev, &e))
        round_trip(&ev, a);
    arena_free(a);
    return 0;
}
