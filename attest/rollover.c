#include "attest/rollover.h"

#include "attest/cert.h"
#include "attest/hash.h"
#include "attest/result.h"
#include "attest/uefi.h"

#define SHA1_SIZE 20

static const struct {
    const char *id;
    const char *name;
    uint8_t sha1[SHA1_SIZE];
} cas[ROLLOVER_CAS] = {
    [ROLLOVER_KEK_2011] = {"kekCa2011",
                           "Microsoft Corporation KEK CA 2011",
                           {0x31, 0x59, 0x0b, 0xfd, 0x89, 0xc9, 0xd7, 0x4e, 0xd0, 0x87,
                            0xdf, 0xac, 0x66, 0x33, 0x4b, 0x39, 0x31, 0x25, 0x4b, 0x30}},
    [ROLLOVER_KEK_2023] = {"kek2kCa2023",
                           "Microsoft Corporation KEK 2K CA 2023",
                           {0x45, 0x9a, 0xb6, 0xfb, 0x5e, 0x28, 0x4d, 0x27, 0x2d, 0x5e,
                            0x3e, 0x6a, 0xbc, 0x8e, 0xd6, 0x63, 0x82, 0x9d, 0x63, 0x2b}},
    [ROLLOVER_WINDOWS_2011] = {"windowsProductionPca2011",
                               "Microsoft Windows Production PCA 2011",
                               {0x58, 0x0a, 0x6f, 0x4c, 0xc4, 0xe4, 0xb6, 0x69, 0xb9, 0xeb,
                                0xdc, 0x1b, 0x2b, 0x3e, 0x08, 0x7b, 0x80, 0xd0, 0x67, 0x8d}},
    [ROLLOVER_WINDOWS_2023] = {"windowsUefiCa2023",
                               "Windows UEFI CA 2023",
                               {0x45, 0xa0, 0xfa, 0x32, 0x60, 0x47, 0x73, 0xc8, 0x24, 0x33,
                                0xc3, 0xb7, 0xd5, 0x9e, 0x74, 0x66, 0xb3, 0xac, 0x0c, 0x67}},
    [ROLLOVER_UEFI_2011] = {"uefiCa2011",
                            "Microsoft Corporation UEFI CA 2011",
                            {0x46, 0xde, 0xf6, 0x3b, 0x5c, 0xe6, 0x1c, 0xf8, 0xba, 0x0d,
                             0xe2, 0xe6, 0x63, 0x9c, 0x10, 0x19, 0xd0, 0xed, 0x14, 0xf3}},
    [ROLLOVER_UEFI_2023] = {"uefiCa2023",
                            "Microsoft UEFI CA 2023",
                            {0xb5, 0xee, 0xb4, 0xa6, 0x70, 0x60, 0x48, 0x07, 0x3f, 0x0e,
                             0xd2, 0x96, 0xe7, 0xf5, 0x80, 0xa7, 0x90, 0xb5, 0x9e, 0xaa}},
    [ROLLOVER_OPTION_ROM_2023] = {"optionRomUefiCa2023",
                                  "Microsoft Option ROM UEFI CA 2023",
                                  {0x3f, 0xb3, 0x9e, 0x2b, 0x8b, 0xd1, 0x83, 0xbf, 0x9e, 0x45,
                                   0x94, 0xe7, 0x21, 0x83, 0xca, 0x60, 0xaf, 0xcd, 0x42, 0x77}},
};

/* Who signs loaders: a CA of 2011 and what takes its place. */
static const struct {
    enum rollover_ca old, new;
} successions[] = {
    {ROLLOVER_WINDOWS_2011, ROLLOVER_WINDOWS_2023},
    {ROLLOVER_UEFI_2011, ROLLOVER_UEFI_2023},
};

const char *rollover_ca_id(enum rollover_ca ca)
{
    return cas[ca].id;
}

const char *rollover_place_name(enum rollover_place p)
{
    static const char *const names[ROLLOVER_PLACES] = {
        [ROLLOVER_IN_KEK] = "kek",
        [ROLLOVER_IN_DB] = "db",
        [ROLLOVER_IN_DBX] = "dbx",
        [ROLLOVER_AUTHORITY] = "bootedWith",
    };
    return names[p];
}

/* ---- what the log says ---- */

static uint32_t bit_of(enum rollover_place place, struct bytes der)
{
    uint8_t sha1[64];
    hash_digest(BANK_SHA1, der, sha1);
    for (int ca = 0; ca < ROLLOVER_CAS; ca++)
        if (memcmp(cas[ca].sha1, sha1, SHA1_SIZE) == 0)
            return rollover_bit(place, (enum rollover_ca)ca);
    return 0;
}

static uint32_t bits_of_list(enum rollover_place place, struct bytes value)
{
    uint32_t set = 0;
    struct uefi_signature s;
    struct uefi_signature_walk walk = uefi_signature_walk(value);
    while (uefi_signature_next(&walk, &s))
        if (s.kind == SIGNATURE_X509)
            set |= bit_of(place, s.data);
    return set;
}

/* Does dbx hold the certificate, or the hash that stands for it (UEFI 2.10, 32.4.1)? One that is revoked from a
 * time on counts too: when an image was signed, no log tells. */
static bool is_in_dbx(struct bytes dbx, struct bytes der)
{
    struct uefi_signature s;
    struct uefi_signature_walk walk = uefi_signature_walk(dbx);
    uint8_t tbs[CERT_FINGERPRINT];
    bool has_tbs = false;
    while (uefi_signature_next(&walk, &s)) {
        if (s.kind == SIGNATURE_X509 && bytes_equal(s.data, der))
            return true;
        if (s.kind != SIGNATURE_X509_SHA256 || s.data.len != SIGNATURE_X509_SHA256_SIZE)
            continue;
        if (!has_tbs && !(has_tbs = cert_tbs_sha256(der, tbs)))
            continue;
        if (memcmp(s.data.data, tbs, sizeof tbs) == 0)
            return true;
    }
    return false;
}

/* Those of db that dbx names by their hash alone. */
static uint32_t revoked_by_hash(const struct log_claims *c)
{
    uint32_t set = 0;
    struct uefi_signature s;
    struct uefi_signature_walk walk = uefi_signature_walk(c->variables[SB_DB].value);
    if (c->variables[SB_DBX].others == 0)
        return 0;
    while (uefi_signature_next(&walk, &s)) {
        uint32_t bit = s.kind == SIGNATURE_X509 ? bit_of(ROLLOVER_IN_DBX, s.data) : 0;
        if (bit && is_in_dbx(c->variables[SB_DBX].value, s.data))
            set |= bit;
    }
    return set;
}

static uint32_t bits_of_authority(const struct log_claims *c, struct bytes der)
{
    uint32_t set = bit_of(ROLLOVER_AUTHORITY, der);
    if (is_in_dbx(c->variables[SB_DBX].value, der))
        set |= ROLLOVER_BOOTED_REVOKED | bit_of(ROLLOVER_IN_DBX, der);
    return set;
}

/* Microsoft Root Certificate Authority 2010: some clouds' db trusts Windows by its root. */
static bool is_windows_root(struct bytes der)
{
    static const uint8_t root[SHA1_SIZE] = {0x3b, 0x1e, 0xfd, 0x3a, 0x66, 0xea, 0x28,
                                            0xb1, 0x66, 0x97, 0x39, 0x47, 0x03, 0xa7,
                                            0x2c, 0xa3, 0x40, 0xa0, 0x5b, 0xd5};
    uint8_t sha1[64];
    hash_digest(BANK_SHA1, der, sha1);
    return memcmp(sha1, root, sizeof root) == 0;
}

bool rollover_booted_windows(const struct log_claims *c)
{
    uint32_t set = 0;
    for (size_t i = 0; i < c->n_authorities; i++)
        if (is_windows_root(c->authorities[i].certificate))
            return true;
        else if (c->authorities[i].certificate.len)
            set |= bit_of(ROLLOVER_AUTHORITY, c->authorities[i].certificate);
    return rollover_has(set, ROLLOVER_AUTHORITY, ROLLOVER_WINDOWS_2011) ||
           rollover_has(set, ROLLOVER_AUTHORITY, ROLLOVER_WINDOWS_2023);
}

uint32_t rollover_of(const struct log_claims *c)
{
    static const struct {
        enum sb_variable variable;
        enum rollover_place place;
    } lists[] = {{SB_KEK, ROLLOVER_IN_KEK}, {SB_DB, ROLLOVER_IN_DB}, {SB_DBX, ROLLOVER_IN_DBX}};
    uint32_t set = ROLLOVER_KNOWN;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        const struct claim_variable *v = &c->variables[lists[i].variable];
        if (!v->present)
            return 0;
        set |= bits_of_list(lists[i].place, v->value);
    }
    for (size_t i = 0; i < c->n_authorities; i++)
        if (c->authorities[i].certificate.len)
            set |= bits_of_authority(c, c->authorities[i].certificate);
    return set | revoked_by_hash(c);
}

uint32_t rollover_of_result(const struct attest_result *r)
{
    return r->claims && r->claims->has_log ? rollover_of(r->claims->log) : 0;
}

/* ---- what that means ---- */

static const char *const state_names[ROLLOVER_STATES] = {
    [ROLLOVER_UNKNOWN] = "unknown",       [ROLLOVER_READY] = "ready",
    [ROLLOVER_INCOMPLETE] = "incomplete", [ROLLOVER_AT_RISK] = "atRisk",
    [ROLLOVER_REVOKED] = "revoked",       [ROLLOVER_NOT_APPLICABLE] = "notApplicable",
};

const char *rollover_state_name(enum rollover_state s)
{
    return state_names[s];
}

bool rollover_state_parse(const char *name, enum rollover_state *out)
{
    for (int s = 0; s < ROLLOVER_STATES; s++) {
        if (strcmp(state_names[s], name) != 0)
            continue;
        *out = (enum rollover_state)s;
        return true;
    }
    return false;
}

static bool lacks_successor(uint32_t set, size_t i)
{
    return rollover_has(set, ROLLOVER_IN_DB, successions[i].old) &&
           !rollover_has(set, ROLLOVER_IN_DB, successions[i].new);
}

static bool lacks_kek(uint32_t set)
{
    return rollover_has(set, ROLLOVER_IN_KEK, ROLLOVER_KEK_2011) &&
           !rollover_has(set, ROLLOVER_IN_KEK, ROLLOVER_KEK_2023);
}

/* Booted by a certificate that stands in dbx: the update came after the boot, or the image was
 * measured before it was refused. */
static bool is_revoked(uint32_t set)
{
    if (set & ROLLOVER_BOOTED_REVOKED)
        return true;
    for (int ca = 0; ca < ROLLOVER_CAS; ca++)
        if (rollover_has(set, ROLLOVER_AUTHORITY, (enum rollover_ca)ca) &&
            rollover_has(set, ROLLOVER_IN_DBX, (enum rollover_ca)ca))
            return true;
    return false;
}

enum rollover_state rollover_state_of(uint32_t set)
{
    if (!(set & ROLLOVER_KNOWN))
        return ROLLOVER_UNKNOWN;
    if (!(set & ~ROLLOVER_KNOWN))
        return ROLLOVER_NOT_APPLICABLE;
    if (is_revoked(set))
        return ROLLOVER_REVOKED;
    bool incomplete = lacks_kek(set);
    for (size_t i = 0; i < ARRAY_LEN(successions); i++) {
        if (!lacks_successor(set, i))
            continue;
        if (rollover_has(set, ROLLOVER_AUTHORITY, successions[i].old))
            return ROLLOVER_AT_RISK;
        incomplete = true;
    }
    return incomplete ? ROLLOVER_INCOMPLETE : ROLLOVER_READY;
}

/* ---- as JSON ---- */

static void write_finding(struct jw *w, const char *code, const char *severity, const char *reason,
                          const char *remedy)
{
    jw_open(w, '{');
    jw_key_str(w, "code", code);
    jw_key_str(w, "severity", severity);
    jw_key_str(w, "reason", reason);
    jw_key_str(w, "remedy", remedy);
    jw_close(w, '}');
}

static void write_kek(struct jw *w, uint32_t set)
{
    if (!lacks_kek(set))
        return;
    write_finding(
        w, "kek_2023_missing", "warning",
        "KEK trusts Microsoft Corporation KEK CA 2011, which has expired, but not Microsoft "
        "Corporation KEK 2K CA 2023: updates of db and dbx that the new one signs are "
        "refused.",
        "Update KEK. The owner of the platform key must sign that update, so on Azure it "
        "comes with the platform: restart the VM, and ask for it if it does not.");
}

static void write_successor(struct jw *w, uint32_t set, size_t i)
{
    char reason[320];
    const char *old = cas[successions[i].old].name, *new = cas[successions[i].new].name;
    if (!lacks_successor(set, i))
        return;
    bool booted = rollover_has(set, ROLLOVER_AUTHORITY, successions[i].old);
    snprintf(reason, sizeof reason,
             "db trusts %s but not %s: a loader that only the new one signed will not boot.%s", old,
             new,
             booted ? " The old one vouched for this boot, so it stops once that is revoked or "
                      "the loader is replaced."
                    : "");
    write_finding(w, booted ? "boot_depends_on_2011" : "db_2023_missing",
                  booted ? "error" : "warning", reason,
                  "Update db with the certificate of 2023 before the loader or dbx is updated.");
}

static void write_revoked(struct jw *w, uint32_t set)
{
    if (!is_revoked(set))
        return;
    write_finding(
        w, "booted_by_revoked", "error",
        "A certificate that vouched for this boot stands in dbx by now: the VM will not "
        "boot again with the same loader.",
        "Replace the boot loader by one that a certificate of 2023 signed before the next "
        "restart.");
}

static void write_place(struct jw *w, uint32_t set, enum rollover_place place)
{
    jw_key(w, rollover_place_name(place));
    jw_open(w, '[');
    for (int ca = 0; ca < ROLLOVER_CAS; ca++)
        if (rollover_has(set, place, (enum rollover_ca)ca))
            jw_str(w, cas[ca].id);
    jw_close(w, ']');
}

void rollover_write(struct jw *w, uint32_t set)
{
    jw_key_str(w, "state", state_names[rollover_state_of(set)]);
    for (int place = 0; place < ROLLOVER_PLACES; place++)
        write_place(w, set, (enum rollover_place)place);
    jw_key(w, "findings");
    jw_open(w, '[');
    write_revoked(w, set);
    write_kek(w, set);
    for (size_t i = 0; i < ARRAY_LEN(successions); i++)
        write_successor(w, set, i);
    jw_close(w, ']');
}
