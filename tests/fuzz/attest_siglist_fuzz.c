/* UEFI_VARIABLE_DATA, the EFI_SIGNATURE_LISTs in it and the certificates in these. */
#include "attest/cert.h"
#include "attest/uefi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(struct bytes value, struct arena *a)
{
    struct uefi_signature_walk w = uefi_signature_walk(value);
    struct uefi_signature s;
    struct uefi_signatures counted;
    size_t n = 0;
    bool whole = !uefi_signatures_parse(value, &counted);
    while (uefi_signature_next(&w, &s)) {
        struct buf out = {0};
        struct jw json = jw_over(&out);
        if (s.kind == SIGNATURE_X509 && n < 8)
            cert_write(&json, s.data, a);
        (void)uefi_der_at_start(s.data);
        uefi_guid_text(s.owner, a);
        buf_free(&out);
        n++;
    }
    /* The two ways of reading lists see the same entries. */
    if (whole && n != counted.certificates + counted.hashes + counted.others)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct uefi_variable v;
    struct arena *a = arena_new();
    if (!uefi_variable_parse(BYTES(data, size), &v)) {
        uefi_name_text(&v, a);
        uefi_guid_text(v.guid, a);
        walk(v.value, a);
    }
    walk(BYTES(data, size), a);
    struct buf out = {0};
    struct jw json = jw_over(&out);
    cert_write(&json, BYTES(data, size), a);
    buf_free(&out);
    arena_free(a);
    return 0;
}
