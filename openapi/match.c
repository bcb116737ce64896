#include "openapi/match.h"

#include "core/bytes.h"
#include "core/clock.h"

#include <ctype.h>
#include <strings.h>

/* isalpha and friends of the C locale: ASCII whatever LC_CTYPE says. */
static bool letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool alnum(char c)
{
    return letter(c) || digit(c);
}

/* True where every character is a letter, a digit or one of `more`. */
static bool only(const char *s, const char *more)
{
    for (; *s; s++)
        if (!alnum(*s) && !strchr(more, *s))
            return false;
    return true;
}

static char last(const char *s)
{
    return *s ? s[strlen(s) - 1] : 0;
}

const char *match_uuid(const char *s)
{
    return uuid_valid(s) ? NULL : "must be a GUID like 00000000-0000-0000-0000-000000000000";
}

const char *match_id(const char *s)
{
    return *s && only(s, "-") ? NULL : "must be an id: letters, digits and hyphens";
}

/* Azure's naming rules: Microsoft.Resources resourcegroups. */
const char *match_resource_group_name(const char *s)
{
    if (!*s || !only(s, "-_.()"))
        return "may hold letters, digits, hyphens, underscores, dots and parentheses";
    return last(s) == '.' ? "must not end with a dot" : NULL;
}

const char *match_vm_name(const char *s)
{
    if (!*s || !only(s, "-"))
        return "may hold letters, digits and hyphens";
    if (*s == '-' || last(s) == '-')
        return "must start and end with a letter or a digit";
    return NULL;
}

/* Azure's naming rules: most of Microsoft.Network. */
const char *match_arm_name(const char *s)
{
    if (!*s || !only(s, "-_."))
        return "may hold letters, digits, hyphens, underscores and dots";
    if (!alnum(*s))
        return "must start with a letter or a digit";
    if (!alnum(last(s)) && last(s) != '_')
        return "must end with a letter, a digit or an underscore";
    return NULL;
}

const char *match_location(const char *s)
{
    bool good = *s >= 'a' && *s <= 'z';
    for (; good && *s; s++)
        good = (*s >= 'a' && *s <= 'z') || digit(*s);
    return good ? NULL : "must be a region's short name, like westeurope";
}

const char *match_vm_size(const char *s)
{
    const char *tail = strchr(s, '_');
    bool good = tail && tail != s && tail[1] && only(tail, "_-");
    for (; good && s < tail; s++)
        good = letter(*s);
    return good ? NULL : "must be a VM size, like Standard_D2s_v5";
}

const char *match_image_part(const char *s)
{
    if (!*s || !only(s, "-_."))
        return "may hold letters, digits, hyphens, underscores and dots";
    return alnum(*s) && alnum(last(s)) ? NULL : "must start and end with a letter or a digit";
}

/* ---- ARM ids ---- */

/* One segment of an id: ".", ".." and a dot at the end are nobody's name. */
static bool good_segment(const char *p, size_t n)
{
    if (n == 0 || n > 100 || p[n - 1] == '.')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!alnum(p[i]) && !strchr("-_.()", p[i]))
            return false;
    return true;
}

/* Takes "/literal/value" off the front of *s. */
static bool take_pair(const char **s, const char *literal)
{
    size_t n = strlen(literal);
    const char *p = *s;
    if (*p++ != '/' || strncasecmp(p, literal, n) != 0 || p[n] != '/')
        return false;
    p += n + 1;
    size_t value = strcspn(p, "/");
    if (!good_segment(p, value))
        return false;
    *s = p + value;
    return true;
}

static bool take_literal(const char **s, const char *literal)
{
    size_t n = strlen(literal);
    if (strncasecmp(*s, literal, n) != 0)
        return false;
    *s += n;
    return true;
}

/* "/subscriptions/<guid>" */
static bool take_subscription(const char **s)
{
    const char *start = *s + strlen("/subscriptions/");
    if (!take_pair(s, "subscriptions") || *s - start != UUID_SIZE - 1)
        return false;
    char id[UUID_SIZE] = {0};
    memcpy(id, start, UUID_SIZE - 1);
    return uuid_valid(id);
}

static bool take_group(const char **s)
{
    return take_subscription(s) && take_pair(s, "resourceGroups");
}

/* major.minor.patch, each a 32-bit number */
static bool gallery_version(const char *s)
{
    unsigned parts = 0;
    for (;;) {
        size_t n = strspn(s, "0123456789");
        if (n == 0 || n > 10 || strtoull(s, NULL, 10) > INT32_MAX)
            return false;
        parts++;
        s += n;
        if (!*s)
            return parts == 3;
        if (*s++ != '.')
            return false;
    }
}

const char *match_gallery_image_version_id(const char *s)
{
    if (take_group(&s) && take_literal(&s, "/providers/Microsoft.Compute") &&
        take_pair(&s, "galleries") && take_pair(&s, "images")) {
        const char *version = s + strlen("/versions/");
        if (take_pair(&s, "versions") && !*s)
            return strcasecmp(version, "latest") == 0 || gallery_version(version)
                       ? NULL
                       : "must end in a version like 1.0.0 or in latest";
    }
    return "must be the ARM id of a gallery image version";
}

const char *match_subnet_id(const char *s)
{
    if (take_group(&s) && take_literal(&s, "/providers/Microsoft.Network") &&
        take_pair(&s, "virtualNetworks") && take_pair(&s, "subnets") && !*s)
        return NULL;
    return "must be the ARM id of a subnet";
}

const char *match_resource_id(const char *s)
{
    static const char why[] = "must be an ARM id";
    if (!take_subscription(&s) || !*s)
        return why;
    while (*s) {
        if (*s++ != '/')
            return why;
        size_t n = strcspn(s, "/");
        if (!good_segment(s, n))
            return why;
        s += n;
    }
    return NULL;
}

const char *match_arm_scope(const char *s)
{
    if (take_subscription(&s) && (!*s || (take_pair(&s, "resourceGroups") && !*s)))
        return NULL;
    return "must be the ARM id of a subscription or a resource group";
}

/* The id of a gallery image version, or publisher:offer:sku:version; the version may be "*". */
static bool image_scope(const char *s)
{
    char part[129];
    int parts = 0;
    if (*s == '/')
        return take_group(&s) && take_literal(&s, "/providers/Microsoft.Compute") &&
               take_pair(&s, "galleries") && take_pair(&s, "images") &&
               take_literal(&s, "/versions/") && (strcmp(s, "*") == 0 || gallery_version(s));
    for (;;) {
        size_t n = strcspn(s, ":");
        if (n == 0 || n >= sizeof part)
            return false;
        memcpy(part, s, n);
        part[n] = 0;
        parts++;
        if (!s[n])
            return parts == 4 && (strcmp(part, "*") == 0 || !match_image_part(part));
        if (match_image_part(part))
            return false;
        s += n + 1;
    }
}

const char *match_image_name(const char *s)
{
    return image_scope(s) ? NULL : "must be publisher:offer:sku:version or a gallery version's id";
}

const char *match_policy_scope(const char *s)
{
    const char *vm = s;
    if (strcmp(s, "/") == 0 || !match_arm_scope(s) || image_scope(s))
        return NULL;
    if (take_group(&vm) && take_literal(&vm, "/providers/Microsoft.Compute") &&
        (take_pair(&vm, "virtualMachines") ||
         (take_pair(&vm, "virtualMachineScaleSets") && take_pair(&vm, "virtualMachines"))) &&
        !*vm)
        return NULL;
    return "must be /, the ARM id of a subscription, a resource group or a VM, or an image";
}

/* ---- networks ---- */

static bool take_number(const char **s, unsigned max, unsigned *out)
{
    size_t n = strspn(*s, "0123456789");
    if (n == 0 || n > 3 || (n > 1 && **s == '0'))
        return false;
    *out = (unsigned)strtoul(*s, NULL, 10);
    *s += n;
    return *out <= max;
}

static bool take_ipv4(const char **s, uint32_t *out)
{
    *out = 0;
    for (unsigned i = 0; i < 4; i++) {
        unsigned part;
        if ((i && *(*s)++ != '.') || !take_number(s, 255, &part))
            return false;
        *out = *out << 8 | part;
    }
    return true;
}

static const char *match_network(const char *s, unsigned shortest, unsigned longest)
{
    uint32_t address;
    unsigned prefix;
    if (!take_ipv4(&s, &address) || *s++ != '/' || !take_number(&s, 32, &prefix) || *s)
        return "must be an IPv4 network like 10.0.0.0/16";
    if (prefix < shortest || prefix > longest)
        return "has a prefix length that Azure does not take here";
    if (prefix < 32 && (address & (UINT32_MAX >> prefix)) != 0)
        return "has bits set behind its prefix";
    return NULL;
}

/* A subnet is carved out of it, and Azure keeps five addresses of each: /29 is the least. */
const char *match_cidr(const char *s)
{
    return match_network(s, 8, 29);
}

const char *match_network_source(const char *s)
{
    const char *p = s;
    uint32_t address;
    if (!digit(*s))
        return letter(*s) && only(s, ".") && last(s) != '.'
                   ? NULL
                   : "must be a service tag, an IPv4 address or an IPv4 network";
    if (take_ipv4(&p, &address) && !*p)
        return NULL;
    return match_network(s, 0, 32);
}

/* ---- people and keys ---- */

const char *match_admin_username(const char *s)
{
    if (!letter(*s) && *s != '_')
        return "must start with a letter or an underscore";
    return only(s, "-_") ? NULL : "may hold letters, digits, hyphens and underscores";
}

/* RFC 4253 section 6.6: the blob starts with its own type as a string. */
static bool blob_type_is(const char *text, size_t len, const char *type)
{
    uint8_t *blob = malloc(len / 4 * 3 + 1);
    size_t n = 0, want = strlen(type);
    if (!blob)
        abort();
    bool good = base64_decode(text, len, blob, &n) && n > 4 + want && blob[0] == 0 &&
                blob[1] == 0 && blob[2] == 0 && blob[3] == want &&
                memcmp(blob + 4, type, want) == 0;
    free(blob);
    return good;
}

const char *match_ssh_public_key(const char *s)
{
    static const char *const types[] = {"ssh-ed25519", "ssh-rsa"};
    if (strpbrk(s, "\r\n"))
        return "must be one line";
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        size_t n = strlen(types[i]);
        if (strncmp(s, types[i], n) != 0 || s[n] != ' ')
            continue;
        s += n + 1;
        return blob_type_is(s, strcspn(s, " "), types[i]) ? NULL : "is not a whole public key";
    }
    return "must be an ssh-rsa or ssh-ed25519 public key";
}

/* Azure reserves the prefixes microsoft, azure and windows; tlgate- marks what the gateway made. */
const char *match_tag_name(const char *s)
{
    static const char *const reserved[] = {"microsoft", "azure", "windows", "tlgate-"};
    for (const char *p = s; *p; p++)
        if (strchr("<>%&\\?/", *p) || (unsigned char)*p < 0x20)
            return "must not hold any of < > % & \\ ? / and no control characters";
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
        if (strncasecmp(s, reserved[i], strlen(reserved[i])) == 0)
            return "starts with a reserved prefix (microsoft, azure, windows, tlgate-)";
    return NULL;
}

/* ---- the rest ---- */

const char *match_duration(const char *s)
{
    int64_t ms;
    if (!duration_parse(s, &ms))
        return "must be an ISO 8601 duration like PT30M";
    if (ms < 1000 || ms > (int64_t)24 * 3600 * 1000)
        return "must be between 1 second and 1 day";
    return NULL;
}

const char *match_sha256_hex(const char *s)
{
    return strlen(s) == 64 && strspn(s, "0123456789abcdefABCDEF") == 64 ? NULL
                                                                        : "must be 64 hex digits";
}

const char *match_cursor(const char *s)
{
    return *s && only(s, "-_") ? NULL : "is not a cursor of this gateway";
}

const char *match_idempotency_key(const char *s)
{
    for (const char *p = s; *p; p++)
        if (*p < 0x20 || *p > 0x7e)
            return "must be printable ASCII";
    return *s ? NULL : "must not be empty";
}

const char *match_problem_code(const char *s)
{
    for (const char *p = s; *p; p++)
        if ((*p < 'a' || *p > 'z') && *p != '_')
            return "must be a code in snake_case";
    return letter(*s) ? NULL : "must be a code in snake_case";
}

const char *match_job_kind(const char *s)
{
    for (const char *p = s; *p; p++)
        if (!letter(*p) && *p != '.')
            return "must be a kind of job";
    return letter(*s) ? NULL : "must be a kind of job";
}
