/* UEFI_VARIABLE_DATA and the EFI_SIGNATURE_LISTs in it. */
#include "attest/uefi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct uefi_variable v;
    struct uefi_signatures s;
    struct arena *a = arena_new();
    if (!uefi_variable_parse(BYTES(data, size), &v)) {
        uefi_name_text(&v, a);
        uefi_guid_text(v.guid, a);
        (void)uefi_signatures_parse(v.value, &s);
    }
    (void)uefi_signatures_parse(BYTES(data, size), &s);
    arena_free(a);
    return 0;
}
