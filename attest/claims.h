/*
 * What an event log says, once its digests are proven: the facts that a policy asks about.
 *
 * Everything is a view into the log or lives in the arena of the verification. Nothing is decoded
 * that needs X.509 or more than one pass: certificates stay DER (uefi_signature_next walks lists,
 * cert.h describes one), the SBAT level stays text (sbat.h).
 */
#ifndef ATTEST_CLAIMS_H
#define ATTEST_CLAIMS_H

#include "attest/sipa.h"
#include "attest/wire.h"
#include "core/json.h"

#define CLAIMS_AUTHORITIES   32
#define CLAIMS_APPLICATIONS  32
#define CLAIMS_COMMAND_LINES 4
#define CLAIMS_UNREAD        16
#define CLAIMS_NONE          (-1)

/* A Secure Boot variable of PCR 7, in the order in which firmware measures them. */
enum sb_variable { SB_SECURE_BOOT, SB_PK, SB_KEK, SB_DB, SB_DBX, SB_VARIABLES };
/* "SecureBoot", "PK", "KEK", "db", "dbx" */
extern const char *const sb_variable_names[SB_VARIABLES];

struct claim_variable {
    bool present;
    int event;           /* index in the log */
    struct bytes digest; /* of the measured variable, in the bank's hash */
    struct bytes value;  /* VariableData: EFI_SIGNATURE_LISTs, but for SecureBoot */
    size_t certificates; /* entries of EFI_CERT_X509_GUID */
    size_t hashes;       /* of EFI_CERT_SHA256_GUID */
    size_t others;
};

/* EV_EFI_VARIABLE_AUTHORITY: what let something boot, or what a loader takes as its authority. */
struct claim_authority {
    int event;                /* the first that is of this digest */
    const char *variable;     /* "db", "Shim", "MokListRT", "vendor_db", "SbatLevel", ... */
    struct bytes digest;      /* in the bank's hash */
    struct bytes value;       /* VariableData */
    struct bytes certificate; /* DER, where the authority is a certificate */
    struct bytes hash;        /* SHA-256, where it is an image's digest */
    /* Measured before anything ran that an administrator can replace: up to the separator, or as the
     * first of all. Whatever stands later may have been extended after boot. */
    bool sure;
    bool opaque; /* it may have vouched for something, and neither of the two was found in it */
};

/* EV_EFI_BOOT_SERVICES_APPLICATION in PCR 4, and what stands there under any other type but a
 * separator or an action, whose text is checked. */
struct claim_application {
    int event;
    struct bytes digest; /* Authenticode digest in the bank's hash */
    /* EFI_DEVICE_PATH_PROTOCOL as logged. The digest is not of it: a hint, nothing more. */
    struct bytes device_path;
    /* Index in `authorities` of the certificate that the log places at this application, or
     * CLAIMS_NONE: an authority is logged when it is first used, so later applications need not have
     * one. The order of events of different PCRs is not proven: a hint too. */
    int authority;
};

enum command_line_source { COMMAND_LINE_GRUB, COMMAND_LINE_SYSTEMD_STUB };

/* What was handed to a kernel that was loaded, also where it was not booted in the end. */
struct claim_command_line {
    int event;
    enum command_line_source source;
    const char *text; /* printable ASCII, all else as '?' */
};

/* An event of PCR 8, 12 or 13 whose digest is of nothing that the log shows. */
struct claim_unread {
    int event;
    uint32_t pcr;
    struct bytes digest;
};

/* Filled only from PCRs that the caller vouches for. */
struct log_claims {
    enum tri secure_boot;     /* of the firmware; see claims_secure_boot */
    enum tri shim_validation; /* FALSE: shim was told to let everything through (MokSBState) */
    enum tri debug_mode;      /* "UEFI Debug Mode" was measured */
    enum tri dma_protection;  /* FALSE: "DMA Protection Disabled" was measured */
    struct claim_variable variables[SB_VARIABLES];
    struct claim_authority authorities[CLAIMS_AUTHORITIES];
    size_t n_authorities;
    struct claim_application applications[CLAIMS_APPLICATIONS];
    size_t n_applications;
    struct claim_command_line command_lines[CLAIMS_COMMAND_LINES];
    size_t n_command_lines;
    /* Bit i, of PCR 8, 12 and 13: an event of it is not understood, so that nothing can be said of what the
     * PCR does not hold. */
    uint32_t unread;
    struct claim_unread unread_events[CLAIMS_UNREAD]; /* the first of them */
    size_t n_unread;
    bool unread_cut;           /* there are more */
    bool truncated;            /* one of the lists above would have been longer */
    struct bytes sbat_level;   /* shim's SbatLevel, CSV text; empty: not measured, or in doubt */
    const char *sbat_doubt;    /* why what the log shows as the level need not be shim's, or NULL */
    struct bytes crtm_version; /* EV_S_CRTM_VERSION, mostly UTF-16LE */
    struct sipa_claims windows; /* .present: a Windows boot manager logged itself */
};

/* TRUE: firmware and shim both refused what nobody vouches for. */
enum tri claims_secure_boot(const struct log_claims *c);
/* Where it is FALSE: the reason, and the event that says so. */
const char *claims_secure_boot_off(const struct log_claims *c);
int claims_secure_boot_event(const struct log_claims *c);
/* The event of the first authority of this name, or ATTEST_NO_INDEX. */
int claims_authority_event(const struct log_claims *c, const char *variable);

/* The members of a claims object (without the braces). No X.509 is decoded. */
void claims_write_log(struct jw *w, const struct log_claims *c);
/* The same, with every certificate, device path and SBAT level told in words: for people, off the
 * request's path. */
void claims_write_log_full(struct jw *w, const struct log_claims *c, struct arena *a);

#endif
