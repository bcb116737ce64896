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

/* The DER structure at the start of `b`, by its own length (at most 64 KiB): a certificate in an
 * authority. Empty where there is none or it is not whole. */
struct bytes uefi_der_at_start(struct bytes b);

/* Name equals the ASCII text. */
bool uefi_name_is(const struct uefi_variable *v, const char *name);
/* The name with everything but printable ASCII as '?'. */
const char *uefi_name_text(const struct uefi_variable *v, struct arena *a);

enum uefi_vendor { VENDOR_OTHER, VENDOR_GLOBAL, VENDOR_IMAGE_SECURITY, VENDOR_SHIM };
enum uefi_vendor uefi_vendor_of(struct bytes guid);
/* "8be4df61-93ca-11d2-aa0d-00e098032b8c" */
const char *uefi_guid_text(struct bytes guid, struct arena *a);

/* UEFI_IMAGE_LOAD_EVENT (PFP 1.05, 10.2.3): all of it unproven, the digest is of the image. */
struct uefi_image_load {
    uint64_t address; /* in memory */
    uint64_t size;
    struct bytes device_path;
};
const char *uefi_image_load_parse(struct bytes data, struct uefi_image_load *out);

enum uefi_signature_kind {
    SIGNATURE_OTHER,
    SIGNATURE_X509,        /* DER */
    SIGNATURE_SHA256,      /* 32 bytes: Authenticode digest of an image */
    SIGNATURE_X509_SHA256, /* 48 bytes: SHA-256 of a TBSCertificate, then a time of revocation */
};
#define SIGNATURE_X509_SHA256_SIZE 48

/* EFI_SIGNATURE_DATA */
struct uefi_signature {
    enum uefi_signature_kind kind;
    struct bytes type;  /* GUID of the list, 16 bytes */
    struct bytes owner; /* GUID, 16 bytes */
    struct bytes data;
};

/* Walks every entry of every list: struct uefi_signature_walk w = uefi_signature_walk(value);
 * while (uefi_signature_next(&w, &s)) ... Ends early where a list is not well-formed. */
struct uefi_signature_walk {
    struct cursor lists;
    struct cursor entries; /* of the list at hand */
    size_t each;
    struct bytes type;
};
struct uefi_signature_walk uefi_signature_walk(struct bytes value);
bool uefi_signature_next(struct uefi_signature_walk *w, struct uefi_signature *out);

struct uefi_signatures {
    size_t certificates; /* EFI_CERT_X509_GUID */
    size_t hashes;       /* EFI_CERT_SHA256_GUID */
    size_t others;
};

/* Walks all EFI_SIGNATURE_LISTs of a variable's value. NULL, or why it is not well-formed. */
const char *uefi_signatures_parse(struct bytes value, struct uefi_signatures *out);

#endif
