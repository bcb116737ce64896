/*
 * Attestation policies and baselines: the part of the store (db/store.h has the rules) that holds them.
 *
 * A policy's versions never change. A version's number comes from one counter for all policies, so that
 * "name@version" is never used twice, not even when a policy is deleted and made again.
 */
#ifndef DB_STORE_POLICIES_H
#define DB_STORE_POLICIES_H

#include "db/store.h"

/* ---- policies ---- */

#define POLICIES_MAX        512
#define POLICY_VERSIONS_MAX 64 /* of each policy; the oldest goes */

struct policy {
    const char *name;
    int64_t version;
    const char *etag;     /* of the present version; NULL in a list of versions */
    const char *document; /* JSON */
    int64_t created_at;   /* of this version */
    const char *created_by;
};

struct policy_list {
    struct policy *items;
    size_t n;
    bool more; /* ask again with page.after = name of the last item (versions: its number) */
};

struct policy_put {
    const char *name;
    const char *document;
    const char *const *scopes; /* as in the document */
    size_t n_scopes;
    const char *if_etag; /* NULL: any */
    bool only_new;
    int64_t now;
    struct audit audit; /* its principal becomes created_by */
};
struct policy_stored {
    int64_t version;
    char etag[40];
    bool created; /* there was no such policy */
    bool same;    /* the document is that of the present version: nothing was written */
};
/* ERR_PRECONDITION_FAILED (not where the document is the present one); ERR_INVALID_STATE: a scope is
 * another policy's, or there are POLICIES_MAX. */
void store_put_policy(struct store *s, const struct policy_put *in, struct policy_stored *out,
                      struct store_done *done);

struct policy_delete {
    const char *name;
    const char *if_etag; /* NULL: any */
    int64_t now;
    struct audit audit;
};
/* With all its versions. ERR_NOT_FOUND, ERR_PRECONDITION_FAILED. `out` is not used, pass NULL. */
void store_delete_policy(struct store *s, const struct policy_delete *in, void *out,
                         struct store_done *done);

/* The present versions, by name without case. */
enum err store_list_policies(struct store *s, struct arena *a, const struct page *page,
                             struct policy_list *out, struct err_info *e) MUST_CHECK;
/* version 0: the present one. ERR_NOT_FOUND. */
enum err store_get_policy(struct store *s, struct arena *a, const char *name, int64_t version,
                          struct policy *out, struct err_info *e) MUST_CHECK;
/* Newest first, key: the version's number in decimal. ERR_NOT_FOUND: no such policy. */
enum err store_list_policy_versions(struct store *s, struct arena *a, const char *name,
                                    const struct page *page, struct policy_list *out,
                                    struct err_info *e) MUST_CHECK;

/* ---- baselines ---- */

#define BASELINES_MAX     8192
#define BASELINE_SETS_MAX 16 /* golden sets of one baseline */

#define BASELINE_STATE_LIST(X)                                                                     \
    X(LEARNING, "learning")                                                                        \
    X(PROPOSED, "proposed")                                                                        \
    X(CONFIRMED, "confirmed")

enum baseline_state {
#define X(name, text) BASELINE_IS_##name,
    BASELINE_STATE_LIST(X)
#undef X
        BASELINE_STATES
};
const char *baseline_state_text(enum baseline_state s);
bool baseline_state_parse(const char *text, enum baseline_state *out) MUST_CHECK;

/* Golden values of one known good boot. */
struct baseline_set {
    const char *digest;
    const char *bank;
    const char *pcrs;   /* JSON */
    const char *events; /* JSON; NULL in lists */
    const char *report_id;
    int64_t added_at;
    const char *added_by;
    int64_t vms; /* that showed it while it was learned */
};

struct baseline {
    const char *id;
    const char *image;
    enum baseline_state state;
    int64_t revision; /* rises with every change */
    int64_t created_at;
    int64_t updated_at;
    struct baseline_set *sets;
    size_t n_sets;
};

struct baseline_list {
    struct baseline *items;
    size_t n;
    bool more; /* ask again with page.after = id of the last item */
};

struct baseline_filter {
    const char *image; /* NULL: any */
    const enum baseline_state *state;
    bool events; /* read those, too */
    struct page page;
};

struct baseline_learn {
    const char *id; /* for a new one */
    const char *image;
    const char *vm_id;
    struct baseline_set set;
    int64_t vms_needed;
    int64_t now;
    struct audit audit;
};
struct baseline_learned {
    enum baseline_state state;
    bool changed;
};
/* One trusted boot of one VM. Counts once a VM, and only while the baseline is learning; with vms_needed
 * VMs, or BASELINE_SETS_MAX sets, it is proposed. Does nothing where there are BASELINES_MAX. */
void store_learn_baseline(struct store *s, const struct baseline_learn *in,
                          struct baseline_learned *out, struct store_done *done);

struct baseline_change {
    const char *id;
    int64_t if_revision;     /* 0: any; else PRECONDITION_FAILED */
    const char *const *keep; /* confirm: digests of the sets to keep; NULL: all */
    size_t n_keep;
    const struct baseline_set *set; /* accept: what is added */
    int64_t now;
    struct audit audit;
};
/* proposed to confirmed. ERR_NOT_FOUND; ERR_INVALID_STATE: not proposed; ERR_VALIDATION at "#/sets":
 * a digest is none of the sets. `out` is not used, pass NULL (also below). */
void store_confirm_baseline(struct store *s, const struct baseline_change *in, void *out,
                            struct store_done *done);
/* Adds the set and confirms: an operator says it is good. Of a baseline that is not confirmed yet the sets that
 * were learned go: nobody has said so of them. ERR_NOT_FOUND; ERR_INVALID_STATE: the baseline has
 * BASELINE_SETS_MAX sets. A set that is confirmed already changes nothing. */
void store_accept_baseline(struct store *s, const struct baseline_change *in, void *out,
                           struct store_done *done);
/* To be learned again. ERR_NOT_FOUND. */
void store_delete_baseline(struct store *s, const struct baseline_change *in, void *out,
                           struct store_done *done);

enum err store_list_baselines(struct store *s, struct arena *a, const struct baseline_filter *f,
                              struct baseline_list *out, struct err_info *e) MUST_CHECK;
/* With the sets' events. ERR_NOT_FOUND. */
enum err store_get_baseline(struct store *s, struct arena *a, const char *id, struct baseline *out,
                            struct err_info *e) MUST_CHECK;

/* ---- standing ---- */

struct vm_rejudge {
    const char *resource_id;
    const char *if_etag;
    enum vm_status status;
    const char *reasons;
    const char *verdict;
    const char *policy;
    const char *baseline;
    int64_t stale_at;
    const char *wake_key; /* NULL: none */
    int64_t now;
    struct audit audit;
};
/* The last report judged again by another policy. The report stays as it was. ERR_NOT_FOUND,
 * ERR_PRECONDITION_FAILED. `out` is not used, pass NULL. */
void store_rejudge_vm(struct store *s, const struct vm_rejudge *in, void *out,
                      struct store_done *done);

#endif
