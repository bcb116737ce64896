/*
 * The book of policies and baselines: what the store has of them, compiled, in memory. A report looks
 * up what applies to its VM here, without a read of the store and without a parse.
 *
 * A view is an immutable snapshot with a reference count. policy_book_load makes the next one, after
 * each write; readers keep what they took. One process holds the store, so nobody else writes behind
 * the book's back. Thread-safe.
 *
 * Which policy applies: that of the most specific scope that has one, alone and whole; nothing is
 * merged. In this order: the VM itself, its image's version, its image in any version, its resource
 * group, its subscription, "/".
 */
#ifndef HANDLERS_POLICY_BOOK_H
#define HANDLERS_POLICY_BOOK_H

#include "attest/rules.h"
#include "db/store_policies.h"

struct policy_book;

struct book_policy {
    const char *name;
    int64_t version;
    const char *id; /* "name@version" */
    const char *etag;
    const char *document;
    const char *created_by;
    int64_t created_at;
    struct attest_policy *policy;
};

struct book_baseline {
    const char *id;
    const char *image;
    const char *ref; /* "id@revision" */
    enum baseline_state state;
    struct attest_baseline golden;
};

struct book_scope {
    const char *key; /* in lower case */
    const char *text;
    const struct book_policy *policy;
};

struct book_view {
    struct book_policy *policies;
    size_t n_policies;
    struct book_scope *scopes; /* by key */
    size_t n_scopes;
    struct book_baseline *baselines; /* by image without case */
    size_t n_baselines;
};

struct policy_book *policy_book_new(void); /* empty; never NULL */
void policy_book_free(struct policy_book *b);
/* A policy of the store that cannot be compiled (made by another version) is ERR_CONFIG. */
enum err policy_book_load(struct policy_book *b, struct store *s, struct err_info *e) MUST_CHECK;
/* The PCRs that the policies look at, whichever VM they are of. */
uint32_t policy_book_pcrs(struct policy_book *b);
/* Rises with each load. */
unsigned policy_book_generation(struct policy_book *b);

const struct book_view *policy_book_take(struct policy_book *b);
void policy_book_drop(const struct book_view *v);

/* What applies to a VM. `policy` is NULL where none does; the baseline is there only where the policy
 * asks for one and it is confirmed. Valid while the view is held. */
struct book_match {
    const struct book_policy *policy;
    const char *scope; /* as the policy has it */
    const struct book_baseline *baseline;
};
struct book_match book_match_vm(const struct book_view *v, const char *resource_id,
                                const char *image);
/* The same as if `candidate` with its scopes stood in the book instead of the policy of its name. */
struct book_match book_match_with(const struct book_view *v, const struct book_policy *candidate,
                                  const char *resource_id, const char *image);
const struct book_policy *book_find_policy(const struct book_view *v, const char *name);
/* NULL: none in any state. */
const struct book_baseline *book_find_baseline(const struct book_view *v, const char *image);
/* The VM's last report was judged by something else than what applies now. */
bool book_is_pending(const struct book_view *v, const struct vm *vm);

/* True the first time for this VM since the book changed: it may try to add to its image's baseline. */
bool policy_book_may_learn(struct policy_book *b, const char *vm_id);

#endif
