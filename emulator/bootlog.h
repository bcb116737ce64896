/*
 * Boot log: the measured start of a VM as its firmware, shim, GRUB and kernel loader would measure
 * it.
 *
 * Writes a crypto-agile TCG event log (TCG PC Client PFP 1.05, section 10) and hands every
 * measurement to a sink, which extends it into the TPM, in the order of the log; so the log replays
 * to the PCRs. A digest is of the event's own data where the PFP says so, otherwise of the content
 * it names (image, file, boot variable's value). Contents are generated, the same for the same
 * image; the disk's GUIDs and with them PCR 1, 5 and 8 are the VM's own. PCRs depend on the VM and
 * its Secure Boot setting only; the load addresses, which are not measured, change with every boot,
 * as on a real machine.
 *
 * Pure but for the sink. Thread-safe.
 */
#ifndef EMULATOR_BOOTLOG_H
#define EMULATOR_BOOTLOG_H

#include "core/buf.h"
#include "core/err.h"

#define BOOTLOG_BANKS_MAX  4
#define BOOTLOG_DIGEST_MAX 64

/* Certificates (DER) of the Secure Boot variables; views, not owned. */
struct bootlog_keys {
    struct bytes pk;     /* platform key, also the first KEK */
    struct bytes kek;    /* key exchange key */
    struct bytes db_os;  /* db: signs Windows' loader */
    struct bytes db_ca;  /* db: signs shim */
    struct bytes vendor; /* in shim: signs GRUB and the kernel */
};

struct bootlog_boot {
    const char *vm_id; /* GUID, lower case */
    bool secure_boot;
    bool windows;   /* the Windows boot manager instead of shim, GRUB and kernel */
    unsigned boots; /* number of this boot */
    const struct bootlog_keys *keys;
};

/* One measurement's digests, in the order of the banks. */
struct bootlog_digests {
    size_t n;
    struct {
        uint16_t alg; /* TPM_ALG_ID */
        uint16_t size;
        uint8_t value[BOOTLOG_DIGEST_MAX];
    } bank[BOOTLOG_BANKS_MAX];
};

/* Called for every measurement; an error ends the boot and is returned by bootlog_write. */
typedef enum err bootlog_extend_fn(void *ctx, uint32_t pcr, const struct bootlog_digests *d,
                                   struct err_info *e);

/*
 * Appends the log of one boot to `log`. `banks` are the TPM's active banks (SHA-1, SHA-256,
 * SHA-384, SHA-512); every one gets its digest, since an empty bank could be forged. ERR_INTERNAL
 * where a bank is unknown or there are none or too many.
 */
enum err bootlog_write(const struct bootlog_boot *boot, const uint16_t *banks, size_t n_banks,
                       bootlog_extend_fn *extend, void *ctx, struct buf *log,
                       struct err_info *e) MUST_CHECK;

#endif
