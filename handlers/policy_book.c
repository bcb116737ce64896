#include "handlers/policy_book.h"

#include <pthread.h>
#include <stdatomic.h>
#include <strings.h>

#define PAGE        200
#define LEARN_SLOTS 1024

/* A view with what holds it. */
struct held_view {
    struct book_view view;
    atomic_uint refs;
    struct arena *arena;
};

struct policy_book {
    pthread_mutex_t load_lock; /* one load at a time: the last one has read last */
    pthread_mutex_t lock;
    struct held_view *now;
    atomic_uint generation;
    atomic_uint pcrs;
    uint64_t tried[LEARN_SLOTS]; /* hashes of VMs, under lock */
};

static struct held_view *view_new(void)
{
    struct arena *a = arena_new();
    struct held_view *v = ARENA_NEW(a, struct held_view);
    v->arena = a;
    atomic_init(&v->refs, 1);
    return v;
}

struct policy_book *policy_book_new(void)
{
    struct policy_book *b = calloc(1, sizeof *b);
    if (!b)
        abort();
    pthread_mutex_init(&b->load_lock, NULL);
    pthread_mutex_init(&b->lock, NULL);
    b->now = view_new();
    return b;
}

void policy_book_drop(const struct book_view *view)
{
    struct held_view *v = CONTAINER_OF((struct book_view *)view, struct held_view, view);
    if (!view || atomic_fetch_sub(&v->refs, 1) != 1)
        return;
    for (size_t i = 0; i < v->view.n_policies; i++)
        attest_policy_unref(v->view.policies[i].policy);
    arena_free(v->arena);
}

void policy_book_free(struct policy_book *b)
{
    if (!b)
        return;
    policy_book_drop(&b->now->view);
    pthread_mutex_destroy(&b->load_lock);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

const struct book_view *policy_book_take(struct policy_book *b)
{
    pthread_mutex_lock(&b->lock);
    struct held_view *v = b->now;
    atomic_fetch_add(&v->refs, 1);
    pthread_mutex_unlock(&b->lock);
    return &v->view;
}

uint32_t policy_book_pcrs(struct policy_book *b)
{
    return atomic_load(&b->pcrs);
}

unsigned policy_book_generation(struct policy_book *b)
{
    return atomic_load(&b->generation);
}

/* ---- loading ---- */

static const char *lower(struct arena *a, const char *text)
{
    char *key = arena_strdup(a, text);
    for (char *p = key; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p + 32);
    return key;
}

/* A version never changes, so what is compiled stays good. */
static enum err compile(const struct book_view *former, struct book_policy *p, struct err_info *e)
{
    const struct book_policy *same = former ? book_find_policy(former, p->name) : NULL;
    if (same && same->version == p->version) {
        p->policy = attest_policy_ref(same->policy);
        return OK;
    }
    struct err_info why = {0};
    if (attest_policy_compile(BYTES_STR(p->document), &p->policy, &why) == OK)
        return OK;
    return err_set(e, ERR_CONFIG, "the policy %s of the store cannot be used: %s", p->id,
                   why.n_fields ? why.fields[0].detail : why.detail);
}

static enum err load_policies(struct held_view *v, const struct book_view *former, struct store *s,
                              struct err_info *e)
{
    struct arena *a = v->arena;
    struct page page = {.limit = PAGE};
    struct policy_list list;
    v->view.policies = arena_array(a, POLICIES_MAX, sizeof *v->view.policies);
    do {
        enum err err = store_list_policies(s, a, &page, &list, e);
        for (size_t i = 0; i < list.n && !err && v->view.n_policies < POLICIES_MAX; i++) {
            const struct policy *row = &list.items[i];
            struct book_policy *p = &v->view.policies[v->view.n_policies];
            *p = (struct book_policy){
                .name = row->name,
                .version = row->version,
                .id = arena_printf(a, "%s@%lld", row->name, (long long)row->version),
                .etag = row->etag,
                .document = row->document,
                .created_by = row->created_by,
                .created_at = row->created_at,
            };
            err = compile(former, p, e);
            v->view.n_policies += err == OK;
        }
        if (err)
            return err;
        page.after = list.n ? list.items[list.n - 1].name : NULL;
    } while (list.more);
    return OK;
}

static int compare_scopes(const void *a, const void *b)
{
    return strcmp(((const struct book_scope *)a)->key, ((const struct book_scope *)b)->key);
}

static void index_scopes(struct held_view *v)
{
    size_t n = 0;
    for (size_t i = 0; i < v->view.n_policies; i++)
        n += attest_policy_document(v->view.policies[i].policy)->scopes.n;
    v->view.scopes = arena_array(v->arena, n + 1, sizeof *v->view.scopes);
    for (size_t i = 0; i < v->view.n_policies; i++) {
        const struct str_list *scopes = &attest_policy_document(v->view.policies[i].policy)->scopes;
        for (size_t k = 0; k < scopes->n; k++)
            v->view.scopes[v->view.n_scopes++] = (struct book_scope){
                lower(v->arena, scopes->items[k]), scopes->items[k], &v->view.policies[i]};
    }
    qsort(v->view.scopes, v->view.n_scopes, sizeof *v->view.scopes, compare_scopes);
}

static bool read_golden(const struct baseline_set *set, struct attest_golden *out)
{
    AUTO(json) json_t *pcrs = NULL;
    *out = (struct attest_golden){.bank = BANK_COUNT};
    for (int i = 0; i < BANK_COUNT; i++)
        if (strcmp(set->bank, pcr_banks[i].name) == 0)
            out->bank = (enum pcr_bank)i;
    if (out->bank == BANK_COUNT || json_parse(BYTES_STR(set->pcrs), &pcrs, NULL))
        return false;
    const char *key;
    json_t *value;
    json_object_foreach(pcrs, key, value)
    {
        unsigned long pcr = strtoul(key, NULL, 10);
        const char *hex = json_string_value(value);
        if (pcr >= EVIDENCE_PCRS || !hex ||
            !hex_decode(hex, strlen(hex), out->values[pcr], pcr_banks[out->bank].size))
            return false;
        out->mask |= 1u << pcr;
    }
    return out->mask != 0;
}

static void add_baseline(struct held_view *v, const struct baseline *row)
{
    struct book_baseline *b = &v->view.baselines[v->view.n_baselines++];
    struct attest_golden *sets = arena_array(v->arena, row->n_sets + 1, sizeof *sets);
    *b = (struct book_baseline){
        .id = row->id,
        .image = row->image,
        .ref = arena_printf(v->arena, "%s@%lld", row->id, (long long)row->revision),
        .state = row->state,
    };
    for (size_t i = 0; i < row->n_sets; i++)
        b->golden.n += read_golden(&row->sets[i], &sets[b->golden.n]);
    b->golden.sets = sets;
}

static int compare_baselines(const void *a, const void *b)
{
    return strcasecmp(((const struct book_baseline *)a)->image,
                      ((const struct book_baseline *)b)->image);
}

static enum err load_baselines(struct held_view *v, struct store *s, struct err_info *e)
{
    struct baseline_filter filter = {.page = {.limit = PAGE}};
    struct baseline_list list;
    v->view.baselines = arena_array(v->arena, BASELINES_MAX, sizeof *v->view.baselines);
    do {
        enum err err = store_list_baselines(s, v->arena, &filter, &list, e);
        if (err)
            return err;
        for (size_t i = 0; i < list.n && v->view.n_baselines < BASELINES_MAX; i++)
            add_baseline(v, &list.items[i]);
        filter.page.after = list.n ? list.items[list.n - 1].id : NULL;
    } while (list.more);
    qsort(v->view.baselines, v->view.n_baselines, sizeof *v->view.baselines, compare_baselines);
    return OK;
}

enum err policy_book_load(struct policy_book *b, struct store *s, struct err_info *e)
{
    struct held_view *v = view_new(), *former;
    pthread_mutex_lock(&b->load_lock);
    enum err err;
    if ((err = load_policies(v, &b->now->view, s, e)) || (err = load_baselines(v, s, e))) {
        pthread_mutex_unlock(&b->load_lock);
        policy_book_drop(&v->view);
        return err;
    }
    index_scopes(v);
    uint32_t pcrs = 0;
    for (size_t i = 0; i < v->view.n_policies; i++)
        pcrs |= attest_policy_pcrs(v->view.policies[i].policy);
    atomic_store(&b->pcrs, pcrs);
    pthread_mutex_lock(&b->lock);
    former = b->now;
    b->now = v;
    memset(b->tried, 0, sizeof b->tried);
    pthread_mutex_unlock(&b->lock);
    atomic_fetch_add(&b->generation, 1);
    pthread_mutex_unlock(&b->load_lock);
    policy_book_drop(&former->view);
    return OK;
}

/* ---- looking up ---- */

const struct book_policy *book_find_policy(const struct book_view *v, const char *name)
{
    for (size_t i = 0; i < v->n_policies; i++)
        if (strcasecmp(v->policies[i].name, name) == 0)
            return &v->policies[i];
    return NULL;
}

const struct book_baseline *book_find_baseline(const struct book_view *v, const char *image)
{
    const struct book_baseline key = {.image = image};
    if (!image || v->n_baselines == 0)
        return NULL;
    return bsearch(&key, v->baselines, v->n_baselines, sizeof key, compare_baselines);
}

#define SCOPE_MAX 640

/* The scopes of a VM from the most specific on, each in lower case; "" where it has none. */
enum { SCOPE_VM, SCOPE_IMAGE, SCOPE_IMAGE_ANY, SCOPE_GROUP, SCOPE_SUBSCRIPTION, SCOPE_ALL, SCOPES };

struct vm_scopes {
    char key[SCOPES][SCOPE_MAX];
};

static void put_lower(char out[SCOPE_MAX], const char *text, size_t n)
{
    if (n >= SCOPE_MAX)
        n = 0;
    for (size_t i = 0; i < n; i++)
        out[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] + 32) : text[i];
    out[n] = 0;
}

/* Length of the first `segments` segments of an ARM id; 0 where it has fewer. */
static size_t head_of(const char *id, int segments)
{
    const char *p = id;
    for (int i = 0; i < segments; i++) {
        if (*p != '/')
            return 0;
        p += 1 + strcspn(p + 1, "/");
    }
    return (size_t)(p - id);
}

static void scopes_of(struct vm_scopes *s, const char *resource_id, const char *image)
{
    put_lower(s->key[SCOPE_VM], resource_id, strlen(resource_id));
    put_lower(s->key[SCOPE_GROUP], resource_id, head_of(resource_id, 4));
    put_lower(s->key[SCOPE_SUBSCRIPTION], resource_id, head_of(resource_id, 2));
    put_lower(s->key[SCOPE_ALL], "/", 1);
    s->key[SCOPE_IMAGE][0] = s->key[SCOPE_IMAGE_ANY][0] = 0;
    if (!image)
        return;
    put_lower(s->key[SCOPE_IMAGE], image, strlen(image));
    const char *last = strrchr(image, *image == '/' ? '/' : ':');
    if (last && last - image < SCOPE_MAX - 3) {
        size_t n = (size_t)(last - image) + 1;
        put_lower(s->key[SCOPE_IMAGE_ANY], image, n);
        memcpy(s->key[SCOPE_IMAGE_ANY] + n, "*", 2);
    }
}

static const struct book_scope *find_scope(const struct book_view *v, const char *key)
{
    const struct book_scope wanted = {.key = key};
    if (!*key || v->n_scopes == 0)
        return NULL;
    return bsearch(&wanted, v->scopes, v->n_scopes, sizeof wanted, compare_scopes);
}

static struct book_match match_of(const struct book_view *v, const struct book_policy *p,
                                  const char *scope, const char *image)
{
    struct book_match m = {.policy = p, .scope = scope};
    const struct book_baseline *b = NULL;
    if (attest_policy_baseline(p->policy) != BASELINE_OFF)
        b = book_find_baseline(v, image);
    if (b && b->state == BASELINE_IS_CONFIRMED)
        m.baseline = b;
    return m;
}

struct book_match book_match_vm(const struct book_view *v, const char *resource_id,
                                const char *image)
{
    if (v->n_scopes == 0)
        return (struct book_match){0};
    struct vm_scopes scopes;
    scopes_of(&scopes, resource_id, image);
    for (int i = 0; i < SCOPES; i++) {
        const struct book_scope *s = find_scope(v, scopes.key[i]);
        if (s)
            return match_of(v, s->policy, s->text, image);
    }
    return (struct book_match){0};
}

struct book_match book_match_with(const struct book_view *v, const struct book_policy *candidate,
                                  const char *resource_id, const char *image)
{
    const struct str_list *own = &attest_policy_document(candidate->policy)->scopes;
    struct vm_scopes scopes;
    scopes_of(&scopes, resource_id, image);
    for (int i = 0; i < SCOPES; i++) {
        for (size_t k = 0; k < own->n && scopes.key[i][0]; k++)
            if (strcasecmp(own->items[k], scopes.key[i]) == 0)
                return match_of(v, candidate, own->items[k], image);
        const struct book_scope *s = find_scope(v, scopes.key[i]);
        if (s && strcasecmp(s->policy->name, candidate->name) != 0)
            return match_of(v, s->policy, s->text, image);
    }
    return (struct book_match){0};
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

bool book_is_pending(const struct book_view *v, const struct vm *vm)
{
    /* Out of quarantine a VM comes by an operator's decision, not by a policy. */
    if (!vm->last_report_id || vm->quarantine.since)
        return false;
    struct book_match m = book_match_vm(v, vm->resource_id, vm->image);
    return !same_text(vm->policy, m.policy ? m.policy->id : NULL) ||
           !same_text(vm->baseline, m.baseline ? m.baseline->ref : NULL);
}

bool policy_book_may_learn(struct policy_book *b, const char *vm_id)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (const char *p = vm_id; *p; p++)
        h = (h ^ (unsigned char)(*p | 0x20)) * 0x100000001b3u;
    pthread_mutex_lock(&b->lock);
    uint64_t *slot = &b->tried[(h ^ h >> 32) % LEARN_SLOTS];
    bool fresh = *slot != h;
    *slot = h;
    pthread_mutex_unlock(&b->lock);
    return fresh;
}
