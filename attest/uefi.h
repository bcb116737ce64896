/*
 * UEFI structures inside event data: UEFI_VARIABLE_DATA (PFP 1.05, 10.2.6) and EFI_SIGNATURE_LIST
 * (UEFI 2.10, 32.4.1). Every length comes from the guest and is checked against what holds it.
 */
#ifndef ATTEST_UEFI_H
#define ATTEST_UEFI_H

#include "core/arena.h"

struct uefi_variable {
    struct bytes guid;    /* 16 bytes, as in the event */
    struct bytes name;    /* UTF-16LE */
    struct bytes value;   /* VariableData */
    struct bytes surplus; /* what follows it in the event: some shims log more than they measured */
};

/* NULL, or why it is not well-formed. */
const char *uefi_variable_parse(struct bytes data, struct uefi_variable *out);

/* Name equals the ASCII text. */
bool uefi_name_is(const struct uefi_variable *v, const char *name);
/* The name with everything but printable ASCII as '?'. */
const char *uefi_name_text(const struct uefi_variable *v, struct arena *a);

enum uefi_vendor { VENDOR_OTHER, VENDOR_GLOBAL, VENDOR_IMAGE_SECURITY, VENDOR_SHIM };
enum uefi_vendor uefi_vendor_of(struct bytes guid);
/* "8be4df61-93ca-11d2-aa0d-00e098032b8c" */
const char *uefi_guid_text(struct bytes guid, struct arena *a);

struct uefi_signatures {
    size_t certificates; /* EFI_CERT_X509_GUID */
    size_t hashes;       /* EFI_CERT_SHA256_GUID */
    size_t others;
};

/* Walks all EFI_SIGNATURE_LISTs of a variable's value. NULL, or why it is not well-formed. */
const char *uefi_signatures_parse(struct bytes value, struct uefi_signatures *out);

#endif
