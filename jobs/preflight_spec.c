/* What the spec alone says. */
#include "jobs/preflight.h"

#include "core/attr.h"
#include "openapi/schemas.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define WINDOWS_NAME_MAX     15
#define WINDOWS_ADMIN_MAX    20
#define LINUX_PASSWORD_MAX   72
#define RSA_MODULUS_MIN      (2048 / 8)
#define SSH_KEY_MAX          8192
#define SUBSCRIPTION_ID_SIZE 36

/* Names and passwords that Azure refuses for a VM's administrator. */
static const char *const reserved_names[] = {
    "administrator", "admin",  "user",   "user1",   "test",    "user2",   "test1",
    "user3",         "admin1", "1",      "123",     "a",       "actuser", "adm",
    "admin2",        "aspnet", "backup", "console", "david",   "guest",   "john",
    "owner",         "root",   "server", "sql",     "support", "sys",     "support_388945a0",
    "test2",         "test3",  "user4",  "user5",   "video"};
static const char *const known_passwords[] = {
    "abc@123",    "P@$$w0rd",  "P@ssw0rd",  "P@ssword123", "Pa$$word",
    "pass@word1", "Password!", "Password1", "Password22",  "iloveyou!"};

static bool among(const char *const *list, size_t n, const char *s)
{
    for (size_t i = 0; i < n; i++)
        if (strcasecmp(list[i], s) == 0)
            return true;
    return false;
}

static void check_name(const struct preflight_facts *f, struct findings *out)
{
    const char *name = f->plan->name;
    if (!f->plan->windows)
        return;
    if (strlen(name) > WINDOWS_NAME_MAX)
        findings_add(out, FINDING_ERROR, "vm_name_too_long", "#",
                     "the computer name of a Windows VM has at most 15 characters",
                     "Choose a shorter VM name.");
    if (strspn(name, "0123456789") == strlen(name))
        findings_add(out, FINDING_ERROR, "vm_name_numeric", "#",
                     "the computer name of a Windows VM cannot be a number",
                     "Choose a VM name with a letter.");
}

static int classes_of(const char *s)
{
    bool lower = false;
    bool upper = false;
    bool digit = false;
    bool other = false;
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        lower |= islower(c) != 0;
        upper |= isupper(c) != 0;
        digit |= isdigit(c) != 0;
        other |= !isalnum(c);
    }
    return lower + upper + digit + other;
}

static bool has_control(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return true;
    return false;
}

static void check_password(const struct preflight_facts *f, struct findings *out)
{
    const struct secret *p = &f->spec->admin->password;
    if (!p->text)
        return;
    if (!f->plan->windows && p->len > LINUX_PASSWORD_MAX)
        findings_add(out, FINDING_ERROR, "password_too_long", "#/admin/password",
                     "the password of a Linux VM has at most 72 characters",
                     "Choose a shorter password, or SSH keys.");
    if (classes_of(p->text) < 3 || has_control(p->text) || strlen(p->text) != p->len)
        findings_add(out, FINDING_ERROR, "password_too_simple", "#/admin/password",
                     "the password needs three of lower case, upper case, digit and special "
                     "character, and no control characters",
                     "Choose a stronger password, or SSH keys.");
    if (among(known_passwords, ARRAY_LEN(known_passwords), p->text))
        findings_add(out, FINDING_ERROR, "password_known", "#/admin/password",
                     "Azure refuses this well-known password", "Choose another password.");
}

/* RFC 4253 6.6: string type, then for RSA mpint e, mpint n; RFC 8709: string key of 32 bytes. */
static const char *ssh_key_flaw(struct arena *a, const char *text)
{
    const char *blank = strchr(text, ' ');
    size_t n = blank ? strcspn(blank + 1, " ") : 0;
    if (n == 0 || n > SSH_KEY_MAX)
        return "it has no key data";
    uint8_t *raw = arena_alloc(a, n);
    size_t len;
    if (!base64_decode(blank + 1, n, raw, &len))
        return "its data is not base64";
    struct cursor c = cursor_of(BYTES(raw, len));
    struct bytes type = cursor_take(&c, cursor_u32be(&c));
    if (c.bad || !bytes_equal(type, BYTES(text, (size_t)(blank - text))))
        return "its data is of another type than it says";
    struct bytes first = cursor_take(&c, cursor_u32be(&c));
    if (strncmp(text, "ssh-rsa ", 8) != 0)
        return cursor_done(&c) && first.len == 32 ? NULL : "its data is not an Ed25519 key";
    struct bytes modulus = cursor_take(&c, cursor_u32be(&c));
    if (!cursor_done(&c))
        return "its data is not an RSA key";
    return modulus.len >= RSA_MODULUS_MIN ? NULL : "Azure asks for RSA keys of 2048 bits or more";
}

static void check_keys(const struct preflight_facts *f, struct findings *out)
{
    const struct str_list *keys = &f->spec->admin->ssh_public_keys;
    if (keys->n > 0 && f->plan->windows)
        findings_add(out, FINDING_ERROR, "ssh_keys_on_windows", "#/admin/sshPublicKeys",
                     "a Windows VM takes no SSH keys at its creation", "Give a password.");
    for (size_t i = 0; i < keys->n; i++) {
        const char *flaw = ssh_key_flaw(f->arena, keys->items[i]);
        if (flaw)
            findings_add(out, FINDING_ERROR, "ssh_key_invalid",
                         arena_printf(f->arena, "#/admin/sshPublicKeys/%zu", i), flaw,
                         "Give the one line of a .pub file: ssh-ed25519 or ssh-rsa.");
    }
}

static void check_admin(const struct preflight_facts *f, struct findings *out)
{
    const char *name = f->plan->admin;
    if (among(reserved_names, ARRAY_LEN(reserved_names), name))
        findings_add(out, FINDING_ERROR, "admin_username_reserved", "#/admin/username",
                     "Azure refuses this user name", "Choose another user name.");
    if (f->plan->windows && strlen(name) > WINDOWS_ADMIN_MAX)
        findings_add(out, FINDING_ERROR, "admin_username_too_long", "#/admin/username",
                     "a Windows user name has at most 20 characters", "Choose a shorter one.");
    check_password(f, out);
    check_keys(f, out);
}

static void check_security(const struct preflight_facts *f, struct findings *out)
{
    const struct vm_plan *p = f->plan;
    if (p->wait_attestation && !p->attested)
        findings_add(out, FINDING_ERROR, "attestation_needs_vtpm", "#/waitForAttestation",
                     "without Trusted Launch, vTPM and integrity monitoring no report comes",
                     "Set trustedLaunch.vTpm and integrityMonitoring, or waitForAttestation to "
                     "false.");
    if (p->attested && !p->monitoring)
        findings_add(out, FINDING_WARNING, "extension_not_installed",
                     "#/trustedLaunch/integrityMonitoring",
                     "Azure's GuestAttestation extension needs Secure Boot and vTPM; the "
                     "gateway's own attestation works without it",
                     "Set trustedLaunch.secureBoot to true to have it.");
    if (p->trusted && !p->secure_boot)
        findings_add(out, FINDING_WARNING, "secure_boot_off", "#/trustedLaunch/secureBoot",
                     "without Secure Boot unsigned boot code may run",
                     "Leave it on unless unsigned kernel modules are needed.");
    if (!p->trusted)
        findings_add(out, FINDING_WARNING, "trusted_launch_off", "#/securityType",
                     "the VM has neither Secure Boot nor vTPM", "Leave securityType out.");
}

static void check_network(const struct preflight_facts *f, struct findings *out)
{
    const struct vm_plan *p = f->plan;
    bool open = strcasecmp(p->source, "Internet") == 0 || strcmp(p->source, "0.0.0.0/0") == 0;
    if (open && p->ports.n > 0)
        findings_add(out, FINDING_WARNING, "open_to_internet", "#/inboundSource",
                     "the inbound ports are open to every address",
                     "Name the addresses that need them.");
    if (!p->makes_vnet && strncasecmp(p->subnet_id + strlen("/subscriptions/"), p->subscription,
                                      SUBSCRIPTION_ID_SIZE) != 0)
        findings_add(out, FINDING_ERROR, "subnet_other_subscription", "#/network/subnetId",
                     "the subnet is in another subscription than the VM",
                     "Choose a subnet of the VM's subscription.");
}

static void check_tags(const struct preflight_facts *f, struct findings *out)
{
    const struct str_map *tags = &f->plan->tags;
    for (size_t i = 0; i < tags->n; i++)
        for (size_t k = 0; k < i; k++)
            if (strcasecmp(tags->items[i].key, tags->items[k].key) == 0)
                findings_add(out, FINDING_ERROR, "tag_duplicate", "#/tags",
                             "two tag names are equal but for their case", "Remove one of them.");
}

void preflight_check_spec(const struct preflight_facts *f, struct findings *out)
{
    check_name(f, out);
    check_admin(f, out);
    check_security(f, out);
    check_network(f, out);
    check_tags(f, out);
}
