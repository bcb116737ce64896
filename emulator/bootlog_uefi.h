/*
 * Builders of the UEFI structures that a boot log holds. Everything is little-endian and appended
 * to a buf; no call fails. GUID texts are lower case and well-formed (UEFI 2.10, appendix A: the
 * first three fields are little-endian).
 */
#ifndef EMULATOR_BOOTLOG_UEFI_H
#define EMULATOR_BOOTLOG_UEFI_H

#include "core/buf.h"

#define GUID_EFI_GLOBAL     "8be4df61-93ca-11d2-aa0d-00e098032b8c"
#define GUID_IMAGE_SECURITY "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
#define GUID_SHIM_LOCK      "605dab50-e046-4300-abb6-3dd810dd8b23"
#define GUID_CERT_X509      "a5c059a1-94e4-4aa7-87b5-ab155c2bf072"
#define GUID_CERT_SHA256    "c1c41626-504c-4092-aca9-41f936934328"
#define GUID_SIG_OWNER      "77fa9abd-0359-4d32-bd60-28f4e78f784b"

#define UEFI_GUID_TEXT 37

void uefi_u8(struct buf *b, uint8_t v);
void uefi_u16(struct buf *b, uint16_t v);
void uefi_u32(struct buf *b, uint32_t v);
void uefi_u64(struct buf *b, uint64_t v);
void uefi_guid(struct buf *b, const char *text);
/* ASCII as UTF-16LE with its NUL. */
void uefi_utf16z(struct buf *b, const char *ascii);
/* A version 4 shaped GUID that follows from the two texts. */
void uefi_guid_derive(const char *vm_id, const char *what, char out[UEFI_GUID_TEXT]);

/* UEFI_VARIABLE_DATA (PFP 10.2.6): vendor GUID, name without NUL, value. */
void uefi_variable(struct buf *b, const char *guid, const char *name, struct bytes value);
/* EFI_SIGNATURE_DATA: owner and one certificate or hash. */
void uefi_signature(struct buf *b, const char *owner, struct bytes data);
/* EFI_SIGNATURE_LIST with n entries of one size (UEFI 2.10, 32.4.1). */
void uefi_signature_list(struct buf *b, const char *type, const char *owner,
                         const struct bytes *data, size_t n);

/* The disk a VM boots from: an EFI system partition and a root partition. */
struct uefi_disk {
    char disk[UEFI_GUID_TEXT];
    char esp[UEFI_GUID_TEXT];
    char root[UEFI_GUID_TEXT];
};
struct uefi_disk uefi_disk_of(const char *vm_id);
/* Device path HD(1,GPT,esp)/File(path) with its end node. */
void uefi_file_path(struct buf *b, const struct uefi_disk *disk, const char *path);
/* EFI_LOAD_OPTION for that file. */
void uefi_load_option(struct buf *b, const struct uefi_disk *disk, const char *title,
                      const char *path);
/* UEFI_GPT_DATA (PFP 10.2.5): header with CRCs that hold, and the used entries. */
void uefi_gpt(struct buf *b, const struct uefi_disk *disk);

/* Deterministic content of a file: MZ header and `size` bytes that follow from its name. */
void uefi_content(struct buf *b, const char *name, size_t size);

#endif
