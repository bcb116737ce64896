#include "emulator/bootlog.h"

#include "core/attr.h"
#include "emulator/bootlog_uefi.h"

#include <openssl/evp.h>

/* TCG PC Client PFP 1.05, table 14 */
#define EV_NO_ACTION                     0x00000003u
#define EV_SEPARATOR                     0x00000004u
#define EV_S_CRTM_VERSION                0x00000008u
#define EV_IPL                           0x0000000du
#define EV_EFI_VARIABLE_DRIVER_CONFIG    0x80000001u
#define EV_EFI_VARIABLE_BOOT             0x80000002u
#define EV_EFI_BOOT_SERVICES_APPLICATION 0x80000003u
#define EV_EFI_GPT_EVENT                 0x80000006u
#define EV_EFI_ACTION                    0x80000007u
#define EV_EFI_PLATFORM_FIRMWARE_BLOB    0x80000008u
#define EV_EFI_VARIABLE_AUTHORITY        0x800000e0u

#define FIRMWARE_VERSION "Hyper-V UEFI Release v4.1 (azure-emulator)"
#define LOADER_LINUX     "\\EFI\\ubuntu\\shimx64.efi"
#define LOADER_GRUB      "\\EFI\\ubuntu\\grubx64.efi"
#define LOADER_WINDOWS   "\\EFI\\Microsoft\\Boot\\bootmgfw.efi"
#define KERNEL           "/boot/vmlinuz-6.8.0-1021-azure"
#define INITRD           "/boot/initrd.img-6.8.0-1021-azure"
#define SBAT_LEVEL       "sbat,1,2025021800\nshim,4\ngrub,5\n"

static const struct hash {
    uint16_t alg; /* TPM_ALG_ID */
    uint16_t size;
    const EVP_MD *(*md)(void);
} hashes[] = {
    {0x0004, 20, EVP_sha1},
    {0x000b, 32, EVP_sha256},
    {0x000c, 48, EVP_sha384},
    {0x000d, 64, EVP_sha512},
};

struct run {
    const struct bootlog_boot *boot;
    struct uefi_disk disk;
    const struct hash *bank[BOOTLOG_BANKS_MAX];
    size_t n_banks;
    /* of the measurement under way */
    struct buf event;
    struct buf content; /* what is digested, where that is not the event's data */
    bool content_is_event;
};

enum when { ALWAYS, LINUX, SECURE, LINUX_SECURE, WINDOWS };

struct measurement;
typedef void build_fn(struct run *r, const struct measurement *m);

/* One line of the boot: fills run.event and, unless content_is_event stays, run.content. */
struct measurement {
    uint32_t pcr;
    uint32_t type;
    enum when when;
    build_fn *build;
    const char *text; /* name, path or line: as the builder takes it */
    uint32_t size;    /* of the generated content */
};

static void digest_content(struct run *r, const char *name, size_t size)
{
    r->content_is_event = false;
    uefi_content(&r->content, name, size);
}

static void build_text(struct run *r, const struct measurement *m)
{
    buf_add_str(&r->event, m->text);
}

static void build_version(struct run *r, const struct measurement *m)
{
    uefi_utf16z(&r->event, m->text);
}

static void build_separator(struct run *r, const struct measurement *m)
{
    uefi_u32(&r->event, 0);
}

/* UEFI_PLATFORM_FIRMWARE_BLOB: base and length; the digest is of the firmware volume. */
static void build_firmware(struct run *r, const struct measurement *m)
{
    uefi_u64(&r->event, 0x100000000ull - m->size);
    uefi_u64(&r->event, m->size);
    digest_content(r, m->text, m->size);
}

static void put_x509_list(struct buf *b, struct bytes der)
{
    uefi_signature_list(b, GUID_CERT_X509, GUID_SIG_OWNER, &der, 1);
}

static void value_secure_boot(const struct bootlog_boot *boot, struct buf *b)
{
    uefi_u8(b, boot->secure_boot ? 1 : 0);
}

static void value_pk(const struct bootlog_boot *boot, struct buf *b)
{
    put_x509_list(b, boot->keys->pk);
}

static void value_kek(const struct bootlog_boot *boot, struct buf *b)
{
    put_x509_list(b, boot->keys->pk);
    put_x509_list(b, boot->keys->kek);
}

static void value_db(const struct bootlog_boot *boot, struct buf *b)
{
    put_x509_list(b, boot->keys->db_os);
    put_x509_list(b, boot->keys->db_ca);
}

/* Hashes of loaders that were revoked. */
static void value_dbx(const struct bootlog_boot *boot, struct buf *b)
{
    static const char *const revoked[] = {"shimx64.efi 15.4", "grubx64.efi 2.02",
                                          "bootmgfw.efi 10.0.17763"};
    uint8_t hash[ARRAY_LEN(revoked)][32];
    struct bytes entry[ARRAY_LEN(revoked)];
    for (size_t i = 0; i < ARRAY_LEN(revoked); i++) {
        EVP_Digest(revoked[i], strlen(revoked[i]), hash[i], NULL, EVP_sha256(), NULL);
        entry[i] = BYTES_OF(hash[i]);
    }
    uefi_signature_list(b, GUID_CERT_SHA256, GUID_SIG_OWNER, entry, ARRAY_LEN(entry));
}

/* PFP 3.3.4.8: the db entry (EFI_SIGNATURE_DATA) that verified the image. */
static void value_db_authority(const struct bootlog_boot *boot, struct buf *b)
{
    uefi_signature(b, GUID_SIG_OWNER, boot->windows ? boot->keys->db_os : boot->keys->db_ca);
}

static void value_sbat_level(const struct bootlog_boot *boot, struct buf *b)
{
    buf_add_str(b, SBAT_LEVEL);
}

/* shim: the certificate of its own list that verified GRUB. */
static void value_mok_authority(const struct bootlog_boot *boot, struct buf *b)
{
    uefi_signature(b, GUID_SHIM_LOCK, boot->keys->vendor);
}

static void value_mok_list(const struct bootlog_boot *boot, struct buf *b)
{
    uefi_signature_list(b, GUID_CERT_X509, GUID_SHIM_LOCK, &boot->keys->vendor, 1);
}

/* shim's vendor dbx is empty but for the hash of the empty string. */
static void value_mok_list_x(const struct bootlog_boot *boot, struct buf *b)
{
    uint8_t none[32];
    EVP_Digest("", 0, none, NULL, EVP_sha256(), NULL);
    struct bytes entry = BYTES_OF(none);
    uefi_signature_list(b, GUID_CERT_SHA256, GUID_SHIM_LOCK, &entry, 1);
}

static void value_mok_trusted(const struct bootlog_boot *boot, struct buf *b)
{
    uefi_u8(b, 1);
}

/* Variables by the type of the event that names them: "db" is the list or the entry that was used.
 */
static const struct variable {
    uint32_t type;
    const char *name;
    const char *guid;
    void (*value)(const struct bootlog_boot *boot, struct buf *b);
} variables[] = {
    {EV_EFI_VARIABLE_DRIVER_CONFIG, "SecureBoot", GUID_EFI_GLOBAL, value_secure_boot},
    {EV_EFI_VARIABLE_DRIVER_CONFIG, "PK", GUID_EFI_GLOBAL, value_pk},
    {EV_EFI_VARIABLE_DRIVER_CONFIG, "KEK", GUID_EFI_GLOBAL, value_kek},
    {EV_EFI_VARIABLE_DRIVER_CONFIG, "db", GUID_IMAGE_SECURITY, value_db},
    {EV_EFI_VARIABLE_DRIVER_CONFIG, "dbx", GUID_IMAGE_SECURITY, value_dbx},
    {EV_EFI_VARIABLE_AUTHORITY, "db", GUID_IMAGE_SECURITY, value_db_authority},
    {EV_EFI_VARIABLE_AUTHORITY, "SbatLevel", GUID_SHIM_LOCK, value_sbat_level},
    {EV_EFI_VARIABLE_AUTHORITY, "MokListRT", GUID_SHIM_LOCK, value_mok_authority},
    {EV_IPL, "MokList", GUID_SHIM_LOCK, value_mok_list},
    {EV_IPL, "MokListX", GUID_SHIM_LOCK, value_mok_list_x},
    {EV_IPL, "MokListTrusted", GUID_SHIM_LOCK, value_mok_trusted},
};

static const struct variable *variable_of(const struct measurement *m)
{
    for (size_t i = 0; i < ARRAY_LEN(variables); i++) {
        if (variables[i].type == m->type && !strcmp(variables[i].name, m->text))
            return &variables[i];
    }
    abort(); /* a row of boot_sequence names no variable: a mistake in the tables */
}

/* The digest is of the whole UEFI_VARIABLE_DATA (PFP table 14, DRIVER_CONFIG and AUTHORITY). */
static void build_variable(struct run *r, const struct measurement *m)
{
    const struct variable *v = variable_of(m);
    struct buf value = {0};
    v->value(r->boot, &value);
    uefi_variable(&r->event, v->guid, v->name, buf_bytes(&value));
    buf_free(&value);
}

/* shim names the variable and digests its value. */
static void build_mok(struct run *r, const struct measurement *m)
{
    buf_add(&r->event, m->text, strlen(m->text) + 1);
    r->content_is_event = false;
    variable_of(m)->value(r->boot, &r->content);
}

/* EV_EFI_VARIABLE_BOOT: the event is the variable, the digest of its value only. */
static void build_boot_variable(struct run *r, const struct measurement *m)
{
    const char *loader = r->boot->windows ? LOADER_WINDOWS : LOADER_LINUX;
    const char *title = r->boot->windows ? "Windows Boot Manager" : "ubuntu";
    r->content_is_event = false;
    if (!strcmp(m->text, "BootOrder"))
        uefi_u16(&r->content, 0);
    else
        uefi_load_option(&r->content, &r->disk, title, loader);
    uefi_variable(&r->event, GUID_EFI_GLOBAL, m->text, buf_bytes(&r->content));
}

static void build_gpt(struct run *r, const struct measurement *m)
{
    uefi_gpt(&r->event, &r->disk);
}

/* Page-aligned and different at every boot; not measured. */
static uint64_t load_address(const struct run *r, const char *name)
{
    struct buf in = {0};
    buf_printf(&in, "%s|%u|%s", r->boot->vm_id, r->boot->boots, name);
    uint8_t h[32];
    EVP_Digest(in.data, in.len, h, NULL, EVP_sha256(), NULL);
    buf_free(&in);
    return 0x70000000ull + ((uint64_t)(h[0] << 8 | h[1]) << 12);
}

/* UEFI_IMAGE_LOAD_EVENT (PFP 10.2.3): location, length, link time address, device path. */
static void build_image(struct run *r, const struct measurement *m)
{
    struct buf path = {0};
    if (m->text[0] == '\\')
        uefi_file_path(&path, &r->disk, m->text);
    uefi_u64(&r->event, load_address(r, m->text));
    uefi_u64(&r->event, m->size);
    uefi_u64(&r->event, 0);
    uefi_u64(&r->event, path.len);
    buf_add(&r->event, path.data, path.len);
    buf_free(&path);
    digest_content(r, m->text, m->size);
}

/* GRUB: the event is prefix and line with NUL, the digest of the line alone. %s is the root disk.
 */
static void build_grub_line(struct run *r, const struct measurement *m, const char *prefix)
{
    const char *mark = strstr(m->text, "%s");
    int head = mark ? (int)(mark - m->text) : (int)strlen(m->text);
    r->content_is_event = false;
    buf_printf(&r->content, "%.*s%s%s", head, m->text, mark ? r->disk.root : "",
               mark ? mark + 2 : "");
    buf_printf(&r->event, "%s%s", prefix, r->content.data);
    uefi_u8(&r->event, 0);
}

static void build_grub_command(struct run *r, const struct measurement *m)
{
    build_grub_line(r, m, "grub_cmd: ");
}

static void build_kernel_command(struct run *r, const struct measurement *m)
{
    build_grub_line(r, m, "kernel_cmdline: ");
}

static void build_grub_file(struct run *r, const struct measurement *m)
{
    buf_add(&r->event, m->text, strlen(m->text) + 1);
    digest_content(r, m->text, m->size);
}

#define CMDLINE KERNEL " root=UUID=%s ro console=tty1 console=ttyS0 earlyprintk=ttyS0"

/* The boot in the order in which a machine measures it. */
static const struct measurement boot_sequence[] = {
    {0, EV_S_CRTM_VERSION, ALWAYS, build_version, FIRMWARE_VERSION, 0},
    {0, EV_EFI_PLATFORM_FIRMWARE_BLOB, ALWAYS, build_firmware, "PEIFV", 0x20000},
    {0, EV_EFI_PLATFORM_FIRMWARE_BLOB, ALWAYS, build_firmware, "DXEFV", 0x40000},
    {7, EV_EFI_VARIABLE_DRIVER_CONFIG, ALWAYS, build_variable, "SecureBoot", 0},
    {7, EV_EFI_VARIABLE_DRIVER_CONFIG, ALWAYS, build_variable, "PK", 0},
    {7, EV_EFI_VARIABLE_DRIVER_CONFIG, ALWAYS, build_variable, "KEK", 0},
    {7, EV_EFI_VARIABLE_DRIVER_CONFIG, ALWAYS, build_variable, "db", 0},
    {7, EV_EFI_VARIABLE_DRIVER_CONFIG, ALWAYS, build_variable, "dbx", 0},
    {7, EV_SEPARATOR, ALWAYS, build_separator, NULL, 0},
    {1, EV_EFI_VARIABLE_BOOT, ALWAYS, build_boot_variable, "BootOrder", 0},
    {1, EV_EFI_VARIABLE_BOOT, ALWAYS, build_boot_variable, "Boot0000", 0},
    {4, EV_EFI_ACTION, ALWAYS, build_text, "Calling EFI Application from Boot Option", 0},
    {0, EV_SEPARATOR, ALWAYS, build_separator, NULL, 0},
    {1, EV_SEPARATOR, ALWAYS, build_separator, NULL, 0},
    {2, EV_SEPARATOR, ALWAYS, build_separator, NULL, 0},
    {3, EV_SEPARATOR, ALWAYS, build_separator, NULL, 0},
    {4, EV_SEPARATOR, ALWAYS, build_separator, NULL, 0},
    {5, EV_SEPARATOR, ALWAYS, build_separator, NULL, 0},
    {6, EV_SEPARATOR, ALWAYS, build_separator, NULL, 0},
    {5, EV_EFI_GPT_EVENT, ALWAYS, build_gpt, NULL, 0},
    {7, EV_EFI_VARIABLE_AUTHORITY, SECURE, build_variable, "db", 0},
    {4, EV_EFI_BOOT_SERVICES_APPLICATION, WINDOWS, build_image, LOADER_WINDOWS, 0x30000},
    {4, EV_EFI_BOOT_SERVICES_APPLICATION, LINUX, build_image, LOADER_LINUX, 0x18000},
    {14, EV_IPL, LINUX, build_mok, "MokList", 0},
    {14, EV_IPL, LINUX, build_mok, "MokListX", 0},
    {7, EV_EFI_VARIABLE_AUTHORITY, LINUX_SECURE, build_variable, "SbatLevel", 0},
    {14, EV_IPL, LINUX, build_mok, "MokListTrusted", 0},
    {7, EV_EFI_VARIABLE_AUTHORITY, LINUX_SECURE, build_variable, "MokListRT", 0},
    {4, EV_EFI_BOOT_SERVICES_APPLICATION, LINUX, build_image, LOADER_GRUB, 0x28000},
    {8, EV_IPL, LINUX, build_grub_command, "search.fs_uuid %s root", 0},
    {8, EV_IPL, LINUX, build_grub_command, "configfile /boot/grub/grub.cfg", 0},
    {9, EV_IPL, LINUX, build_grub_file, "/boot/grub/grub.cfg", 0x2000},
    {8, EV_IPL, LINUX, build_grub_command, "set timeout=0", 0},
    {8, EV_IPL, LINUX, build_grub_command, "menuentry Ubuntu", 0},
    {8, EV_IPL, LINUX, build_grub_command, "linux " CMDLINE, 0},
    {9, EV_IPL, LINUX, build_grub_file, KERNEL, 0x60000},
    {4, EV_EFI_BOOT_SERVICES_APPLICATION, LINUX, build_image, KERNEL, 0x60000},
    {8, EV_IPL, LINUX, build_kernel_command, CMDLINE, 0},
    {8, EV_IPL, LINUX, build_grub_command, "initrd " INITRD, 0},
    {9, EV_IPL, LINUX, build_grub_file, INITRD, 0x80000},
    {8, EV_IPL, LINUX, build_grub_command, "boot", 0},
    {5, EV_EFI_ACTION, ALWAYS, build_text, "Exit Boot Services Invocation", 0},
    {5, EV_EFI_ACTION, ALWAYS, build_text, "Exit Boot Services Returned with Success", 0},
};

static bool applies(const struct bootlog_boot *b, enum when when)
{
    switch (when) {
    case ALWAYS:
        return true;
    case LINUX:
        return !b->windows;
    case SECURE:
        return b->secure_boot;
    case LINUX_SECURE:
        return !b->windows && b->secure_boot;
    case WINDOWS:
        return b->windows;
    }
    return false;
}

/* TCG_EfiSpecIDEvent in the SHA-1 format's TCG_PCR_EVENT (PFP 10.2.1, 10.4.5.1). */
static void put_spec_id(const struct run *r, struct buf *log)
{
    static const uint8_t zero_sha1[20];
    struct buf id = {0};
    buf_add(&id, "Spec ID Event03", 16);
    uefi_u32(&id, 0); /* platformClass: client */
    uefi_u8(&id, 0);  /* specVersionMinor */
    uefi_u8(&id, 2);  /* specVersionMajor */
    uefi_u8(&id, 0);  /* specErrata */
    uefi_u8(&id, 2);  /* uintnSize: 64 bit */
    uefi_u32(&id, (uint32_t)r->n_banks);
    for (size_t i = 0; i < r->n_banks; i++) {
        uefi_u16(&id, r->bank[i]->alg);
        uefi_u16(&id, r->bank[i]->size);
    }
    uefi_u8(&id, 0); /* vendorInfoSize */

    uefi_u32(log, 0);
    uefi_u32(log, EV_NO_ACTION);
    buf_add(log, zero_sha1, sizeof(zero_sha1));
    uefi_u32(log, (uint32_t)id.len);
    buf_add(log, id.data, id.len);
    buf_free(&id);
}

static void digest(const struct run *r, struct bytes content, struct bootlog_digests *out)
{
    out->n = r->n_banks;
    for (size_t i = 0; i < r->n_banks; i++) {
        out->bank[i].alg = r->bank[i]->alg;
        out->bank[i].size = r->bank[i]->size;
        EVP_Digest(content.data, content.len, out->bank[i].value, NULL, r->bank[i]->md(), NULL);
    }
}

/* TCG_PCR_EVENT2 (PFP 10.2.2). */
static void put_event(const struct run *r, const struct measurement *m,
                      const struct bootlog_digests *d, struct buf *log)
{
    uefi_u32(log, m->pcr);
    uefi_u32(log, m->type);
    uefi_u32(log, (uint32_t)d->n);
    for (size_t i = 0; i < d->n; i++) {
        uefi_u16(log, d->bank[i].alg);
        buf_add(log, d->bank[i].value, d->bank[i].size);
    }
    uefi_u32(log, (uint32_t)r->event.len);
    buf_add(log, r->event.data, r->event.len);
}

static enum err choose_banks(struct run *r, const uint16_t *banks, size_t n, struct err_info *e)
{
    if (!n || n > BOOTLOG_BANKS_MAX)
        return err_set(e, ERR_INTERNAL, "%zu PCR banks", n);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < ARRAY_LEN(hashes); k++) {
            if (hashes[k].alg == banks[i])
                r->bank[i] = &hashes[k];
        }
        if (!r->bank[i])
            return err_set(e, ERR_INTERNAL, "no hash for PCR bank 0x%04x", banks[i]);
    }
    r->n_banks = n;
    return OK;
}

enum err bootlog_write(const struct bootlog_boot *boot, const uint16_t *banks, size_t n_banks,
                       bootlog_extend_fn *extend, void *ctx, struct buf *log, struct err_info *e)
{
    struct run r = {.boot = boot, .disk = uefi_disk_of(boot->vm_id)};
    enum err rc = choose_banks(&r, banks, n_banks, e);
    if (rc != OK)
        return rc;
    put_spec_id(&r, log);
    for (size_t i = 0; i < ARRAY_LEN(boot_sequence) && rc == OK; i++) {
        const struct measurement *m = &boot_sequence[i];
        if (!applies(boot, m->when))
            continue;
        buf_reset(&r.event);
        buf_reset(&r.content);
        r.content_is_event = true;
        m->build(&r, m);
        struct bootlog_digests d;
        digest(&r, buf_bytes(r.content_is_event ? &r.event : &r.content), &d);
        put_event(&r, m, &d, log);
        rc = extend(ctx, m->pcr, &d, e);
    }
    buf_free(&r.event);
    buf_free(&r.content);
    return rc;
}
