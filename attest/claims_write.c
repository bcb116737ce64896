#include "attest/claims.h"

#include "attest/cert.h"
#include "attest/decode.h"
#include "attest/devpath.h"
#include "attest/text.h"
#include "attest/uefi.h"

/* Entries of one database that are listed; the rest is only counted. */
#define SHOWN_SIGNATURES 64

struct writer {
    struct jw *w;
    struct arena *arena; /* NULL: brief */
};

static void write_tri(struct jw *w, const char *key, enum tri v)
{
    if (v != TRI_UNSET)
        jw_key_bool(w, key, v == TRI_TRUE);
}

static void key_hex(struct jw *w, const char *key, struct bytes b)
{
    jw_key(w, key);
    jw_hex(w, b);
}

static void write_entry(struct writer *t, const struct uefi_signature *s)
{
    if (s->kind == SIGNATURE_X509)
        cert_write(t->w, s->data, t->arena);
    else
        jw_hex(t->w, BYTES(s->data.data, s->data.len > 64 ? 64 : s->data.len));
}

static void write_kind(struct writer *t, const char *key, enum uefi_signature_kind kind,
                       struct bytes value)
{
    struct uefi_signature_walk walk = uefi_signature_walk(value);
    struct uefi_signature s;
    size_t n = 0;
    jw_key(t->w, key);
    jw_open(t->w, '[');
    while (n < SHOWN_SIGNATURES && uefi_signature_next(&walk, &s)) {
        if (s.kind != kind)
            continue;
        write_entry(t, &s);
        n++;
    }
    jw_close(t->w, ']');
}

static void write_variable(struct writer *t, const struct claim_variable *v)
{
    jw_open(t->w, '{');
    key_hex(t->w, "digest", v->digest);
    jw_key_int(t->w, "certificates", (int64_t)v->certificates);
    jw_key_int(t->w, "hashes", (int64_t)v->hashes);
    if (v->others)
        jw_key_int(t->w, "others", (int64_t)v->others);
    if (t->arena && v->certificates)
        write_kind(t, "x509", SIGNATURE_X509, v->value);
    if (t->arena && v->hashes)
        write_kind(t, "sha256", SIGNATURE_SHA256, v->value);
    jw_close(t->w, '}');
}

static void write_variables(struct writer *t, const struct log_claims *c)
{
    if (!c->variables[SB_SECURE_BOOT].present)
        return;
    jw_key(t->w, "secureBootVariables");
    jw_open(t->w, '{');
    for (int i = SB_PK; i < SB_VARIABLES; i++) {
        if (!c->variables[i].present)
            continue;
        jw_key(t->w, sb_variable_names[i]);
        write_variable(t, &c->variables[i]);
    }
    jw_close(t->w, '}');
}

static void write_authorities(struct writer *t, const struct log_claims *c)
{
    if (c->n_authorities == 0)
        return;
    jw_key(t->w, "bootAuthorities");
    jw_open(t->w, '[');
    for (size_t i = 0; i < c->n_authorities; i++) {
        const struct claim_authority *auth = &c->authorities[i];
        jw_open(t->w, '{');
        jw_key_str(t->w, "variable", auth->variable);
        key_hex(t->w, "digest", auth->digest);
        if (auth->hash.len)
            key_hex(t->w, "sha256", auth->hash);
        if (t->arena && auth->certificate.len) {
            jw_key(t->w, "x509");
            cert_write(t->w, auth->certificate, t->arena);
        }
        jw_close(t->w, '}');
    }
    jw_close(t->w, ']');
}

static void write_applications(struct writer *t, const struct log_claims *c)
{
    if (c->n_applications == 0)
        return;
    jw_key(t->w, "bootApplications");
    jw_open(t->w, '[');
    for (size_t i = 0; i < c->n_applications; i++) {
        const struct claim_application *app = &c->applications[i];
        jw_open(t->w, '{');
        key_hex(t->w, "digest", app->digest);
        jw_key_int(t->w, "event", app->event);
        if (app->authority != CLAIMS_NONE)
            jw_key_int(t->w, "authority", app->authority);
        if (t->arena && app->device_path.len)
            jw_key_str(t->w, "devicePath", devpath_text(app->device_path, t->arena));
        jw_close(t->w, '}');
    }
    jw_close(t->w, ']');
}

static void write_command_lines(struct jw *w, const struct log_claims *c)
{
    static const char *const sources[] = {
        [COMMAND_LINE_GRUB] = "grub",
        [COMMAND_LINE_SYSTEMD_STUB] = "systemd-stub",
    };
    if (c->n_command_lines == 0)
        return;
    /* Of several the last that a loader measured was booted, but others may have been extended after boot. */
    if (c->n_command_lines == 1 && !(c->unread & (1u << 8 | 1u << 12)))
        jw_key_str(w, "kernelCommandLine", c->command_lines[0].text);
    jw_key(w, "kernelCommandLines");
    jw_open(w, '[');
    for (size_t i = 0; i < c->n_command_lines; i++) {
        jw_open(w, '{');
        jw_key_int(w, "event", c->command_lines[i].event);
        jw_key_str(w, "source", sources[c->command_lines[i].source]);
        jw_key_str(w, "text", c->command_lines[i].text);
        jw_close(w, '}');
    }
    jw_close(w, ']');
}

static const char *version_text(struct bytes version, struct arena *a)
{
    if (text_looks_utf16(version))
        return text_utf16(version, a);
    return text_ascii(version, a);
}

static void write_all(struct writer *t, const struct log_claims *c)
{
    write_tri(t->w, "secureBoot", c->secure_boot);
    write_tri(t->w, "shimValidation", c->shim_validation);
    write_tri(t->w, "uefiDebugMode", c->debug_mode);
    write_tri(t->w, "dmaProtection", c->dma_protection);
    write_variables(t, c);
    write_authorities(t, c);
    write_applications(t, c);
    write_command_lines(t->w, c);
    if (c->sbat_level.len)
        decode_sbat(t->w, c->sbat_level);
    if (t->arena && c->crtm_version.len)
        jw_key_str(t->w, "crtmVersion", version_text(c->crtm_version, t->arena));
    if (c->windows.present) {
        jw_key(t->w, "windows");
        jw_open(t->w, '{');
        sipa_write(t->w, &c->windows);
        jw_close(t->w, '}');
    }
    if (c->truncated)
        jw_key_bool(t->w, "truncated", true);
}

void claims_write_log(struct jw *w, const struct log_claims *c)
{
    struct writer t = {w, NULL};
    write_all(&t, c);
}

void claims_write_log_full(struct jw *w, const struct log_claims *c, struct arena *a)
{
    struct writer t = {w, a};
    write_all(&t, c);
}
