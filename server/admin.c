#include "server/admin.h"

#include "core/json.h"

struct request {
    const char *command;
    const char *name;
    const char *role;
    const char *scope;
    const char *id;
    const char *file;
    const char *purpose;
};

#define TEXT(member, need)                                                                         \
    {                                                                                              \
        .name = #member, .kind = FIELD_STR, .required = need,                                      \
        .offset = offsetof(struct request, member), .min = 1, .max = 4096                          \
    }

static const struct field fields[] = {TEXT(command, true), TEXT(name, false), TEXT(role, false),
                                      TEXT(scope, false),  TEXT(id, false),   TEXT(file, false),
                                      TEXT(purpose, false)};
static const struct schema schema = {.name = "admin request",
                                     .size = sizeof(struct request),
                                     .fields = fields,
                                     .n_fields = ARRAY_LEN(fields)};

typedef enum err verb_fn(const struct admin *a, const struct request *r, struct arena *arena,
                         struct jw *w, struct err_info *e);

static struct audit audit_of(const struct admin *a, const char *action, const char *detail)
{
    return (struct audit){.principal_id = "local",
                          .principal = "administrator of this machine",
                          .action = action,
                          .peer = a->peer,
                          .detail = detail};
}

static const char *key_detail(struct arena *arena, const struct api_key *key)
{
    struct buf out = {0};
    struct jw w = jw_over(&out);
    jw_open(&w, '{');
    jw_key_str(&w, "id", key->id);
    jw_key_str_opt(&w, "name", key->name);
    if (key->scope) {
        jw_key_str(&w, "role", role_text(key->role));
        jw_key_str(&w, "scope", key->scope);
    }
    jw_close(&w, '}');
    const char *text = arena_strdup(arena, out.data);
    buf_free(&out);
    return text;
}

static enum err create_key(const struct admin *a, const struct request *r, struct arena *arena,
                           struct jw *w, struct err_info *e)
{
    enum role role;
    struct secret text;
    struct api_key_put put = {0};
    if (!r->name || !r->role || !r->scope)
        return err_set(e, ERR_BAD_REQUEST, "a key needs --name, --role and --scope");
    if (!role_parse(r->role, &role))
        return err_set(e, ERR_VALIDATION, "the role must be reader, provisioner or admin");
    enum err err = auth_make_key(a->keyring, arena, r->name, role, r->scope, clock_wall(a->clock),
                                 &put.key, &text, e);
    if (err)
        return err;
    put.audit = audit_of(a, "key.create", key_detail(arena, &put.key));
    struct store_waiter wait;
    store_put_api_key(a->store, &put, NULL, store_waiter_init(&wait));
    err = store_wait(&wait, e);
    if (err)
        return err;
    jw_key_str(w, "id", put.key.id);
    jw_key_str(w, "key", text.text);
    return OK;
}

static enum err list_keys(const struct admin *a, const struct request *r, struct arena *arena,
                          struct jw *w, struct err_info *e)
{
    struct api_key_list keys;
    enum err err = store_list_api_keys(a->store, arena, &keys, e);
    if (err)
        return err;
    jw_key(w, "keys");
    jw_open(w, '[');
    for (size_t i = 0; i < keys.n; i++) {
        const struct api_key *k = &keys.items[i];
        jw_open(w, '{');
        jw_key_str(w, "id", k->id);
        jw_key_str(w, "name", k->name);
        jw_key_str(w, "role", role_text(k->role));
        jw_key_str(w, "scope", k->scope);
        jw_key_time(w, "createdAt", k->created_at);
        jw_key_time_opt(w, "expiresAt", k->expires_at);
        jw_key_time_opt(w, "revokedAt", k->revoked_at);
        jw_key_time_opt(w, "lastUsedAt", k->last_used_at);
        jw_close(w, '}');
    }
    jw_close(w, ']');
    return OK;
}

static enum err revoke_key(const struct admin *a, const struct request *r, struct arena *arena,
                           struct jw *w, struct err_info *e)
{
    if (!r->id)
        return err_set(e, ERR_BAD_REQUEST, "which key? revoke needs its id");
    const struct api_key named = {.id = r->id};
    const struct api_key_revoke in = {.id = r->id,
                                      .now = clock_wall(a->clock),
                                      .audit =
                                          audit_of(a, "key.revoke", key_detail(arena, &named))};
    struct store_waiter wait;
    store_revoke_api_key(a->store, &in, NULL, store_waiter_init(&wait));
    enum err err = store_wait(&wait, e);
    if (err == ERR_NOT_FOUND)
        return err_set(e, err, "no key has this id");
    if (err)
        return err;
    if (a->auth)
        auth_forget(a->auth, r->id);
    jw_key_str(w, "id", r->id);
    return OK;
}

/* What is fingerprinted is looked up again by its fingerprint, so that key stays. */
static enum err rotate(const struct admin *a, const struct request *r, struct arena *arena,
                       struct jw *w, struct err_info *e)
{
    enum key_purpose purpose;
    uint32_t id;
    if (!r->purpose || !keyring_purpose_parse(r->purpose, &purpose) || purpose == KEY_FINGERPRINT)
        return err_set(e, ERR_VALIDATION,
                       "the purpose must be challenge, enrollment, cursor, seal or results");
    enum err err = keyring_rotate(a->keyring, purpose, &id, e);
    if (err)
        return err;
    const char *text = arena_printf(arena, "%08x", id);
    const struct audit_note note = {
        .now = clock_wall(a->clock),
        .audit =
            audit_of(a, "key.rotate",
                     arena_printf(arena, "{\"purpose\":\"%s\",\"id\":\"%s\"}", r->purpose, text)),
    };
    struct store_waiter wait;
    store_note_audit(a->store, &note, NULL, store_waiter_init(&wait));
    err = store_wait(&wait, e);
    jw_key_str(w, "purpose", r->purpose);
    jw_key_str(w, "id", text);
    return err;
}

static enum err backup(const struct admin *a, const struct request *r, struct arena *arena,
                       struct jw *w, struct err_info *e)
{
    if (!r->file || *r->file != '/')
        return err_set(e, ERR_BAD_REQUEST, "backup needs the absolute path of a file");
    enum err err = store_backup(a->store, r->file, e);
    if (!err)
        jw_key_str(w, "file", r->file);
    return err;
}

/* Opening the store has migrated it. */
static enum err migrate(const struct admin *a, const struct request *r, struct arena *arena,
                        struct jw *w, struct err_info *e)
{
    jw_key_int(w, "schema", store_schema_version(a->store));
    return OK;
}

static const struct {
    const char *command;
    verb_fn *run;
} verbs[] = {{"key.create", create_key}, {"key.list", list_keys}, {"key.revoke", revoke_key},
             {"key.rotate", rotate},     {"backup", backup},      {"migrate", migrate}};

static enum err run(const struct admin *a, const struct request *r, struct arena *arena,
                    struct jw *w, struct err_info *e)
{
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (strcmp(verbs[i].command, r->command) == 0)
            return verbs[i].run(a, r, arena, w, e);
    return err_set(e, ERR_BAD_REQUEST, "no such command");
}

enum err admin_run(const struct admin *a, struct bytes request, struct buf *out, struct err_info *e)
{
    struct arena *arena = arena_new();
    struct request r;
    enum err err = json_decode_text(request, &schema, arena, &r, e);
    if (!err) {
        struct jw w = jw_over(out);
        jw_open(&w, '{');
        err = run(a, &r, arena, &w, e);
        jw_close(&w, '}');
    }
    if (err)
        buf_reset(out);
    arena_free(arena);
    return err;
}
