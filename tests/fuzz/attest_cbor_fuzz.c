/*
 * Evidence as CBOR, as a file and as a report. What is accepted comes out again as the same bytes (there
 * is one encoding), holds to the limits of wire.h and keeps its digest; and whatever comes, the memory
 * it takes is bounded by the input.
 */
#include "attest/wire.h"

#include <assert.h>

#define ARENA_MAX ((size_t)1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The encoder's order of members is its own, so a second round must repeat the first. */
static void round_trip(const struct evidence *ev, struct arena *a)
{
    struct buf first = {0}, second = {0};
    struct evidence again;
    uint8_t one[32], two[32];
    wire_encode_cbor(ev, &first);
    if (wire_decode_cbor(buf_bytes(&first), WIRE_OFFLINE, a, &again, NULL))
        abort();
    wire_encode_cbor(&again, &second);
    if (!bytes_equal(buf_bytes(&first), buf_bytes(&second)))
        abort();
    wire_evidence_digest(ev, BYTES_STR("the log's digest, of 32 bytes..."), one);
    wire_evidence_digest(&again, BYTES_STR("the log's digest, of 32 bytes..."), two);
    assert(memcmp(one, two, sizeof one) == 0);
    buf_free(&first);
    buf_free(&second);
}

static void check_limits(const struct evidence *ev)
{
    assert(ev->quote_message.len && ev->quote_signature.len);
    assert(ev->event_log.len <= EVIDENCE_LOG_MAX && ev->n_chain <= EVIDENCE_CHAIN_MAX);
    assert(ev->attested_document.len <= EVIDENCE_DOCUMENT_MAX);
    assert(ev->activation_secret.len <= EVIDENCE_SECRET_MAX);
    assert(!ev->activation_id == !ev->activation_secret.len);
    assert(!ev->event_log.len || !ev->event_log_digest.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new();
    struct evidence ev, report;
    struct err_info e = {0};
    enum err offline = wire_decode_cbor(BYTES(data, size), WIRE_OFFLINE, a, &ev, &e);
    enum err online = wire_decode_cbor(BYTES(data, size), WIRE_REPORT, a, &report, &e);
    assert(!online || online == ERR_EVIDENCE_MALFORMED);
    assert(online || (!offline && report.challenge_id && report.vm_id));
    assert(arena_size(a) <= ARENA_MAX);
    if (!offline) {
        check_limits(&ev);
        round_trip(&ev, a);
    }
    arena_free(a);
    return 0;
}
