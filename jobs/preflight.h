/*
 * Preflight of a VM: which live reads it needs, and what they and the spec alone say. Pure; the reads
 * are made by query.c.
 */
#ifndef JOBS_PREFLIGHT_H
#define JOBS_PREFLIGHT_H

#include "core/json.h"
#include "jobs/workflow.h"

enum read_kind {
    READ_SIZES,         /* Microsoft.Compute/skus of the location, by size name */
    READ_VERSIONS,      /* marketplace: the versions of the sku, to resolve "latest" */
    READ_IMAGE,         /* marketplace: the image version */
    READ_DEFINITION,    /* gallery: the image definition */
    READ_IMAGE_VERSION, /* gallery: the version */
    READ_GROUP,
    READ_SUBNET,
    READ_FEATURE, /* may securityType Standard be asked for? */
    READ_VMS,     /* names of the VMs of the group */
    READ_VM,
    READ_KINDS
};

struct read_answer {
    bool known;   /* it was read */
    bool exists;  /* false: 404 */
    json_t *body; /* borrowed; NULL where it does not exist */
};

struct preflight_facts {
    struct arena *arena;
    bool crowded; /* others of the group are asked for as well: its list first */
    const struct jobs_vm_ref *ref;
    const struct vm_spec *spec; /* NULL: whose VM it is, and nothing else */
    const struct vm_plan *plan;
    const struct vm *vm;  /* registry row; NULL: none */
    bool no_subscription; /* Azure knows none of this id */
    struct read_answer read[READ_KINDS];
};

/* Path and query of the read, or NULL where it is not needed (or not yet: READ_IMAGE of "latest" waits
 * for READ_VERSIONS, READ_VM for READ_VMS). */
const char *preflight_target(const struct preflight_facts *f, enum read_kind kind);
/* A refusal with this ARM code says as 404 does that there is nothing: the images of a location that
 * Azure does not have. */
bool preflight_is_missing(enum read_kind kind, const char *code);
/* How long its answer may be used again. What is kept briefly is never the reason of a refusal: for
 * that it is read anew. */
enum read_life { READ_ONCE, READ_BRIEFLY, READ_LONG };
enum read_life preflight_life(enum read_kind kind);
/* What is kept of an answer: the sizes of a location are megabytes. The caller owns it. */
json_t *preflight_digest(enum read_kind kind, json_t *body);
/* There were more pages than anybody reads: marks the digest. */
void preflight_cut_off(enum read_kind kind, json_t *digest);

/* Fills findings and refusal, and where they are wanted calls and plan_digest. */
void preflight_judge(const struct preflight_facts *f, struct jobs_preflight *p);

/* What a deletion does: fills calls and plan_digest. The work has plan and vm. */
void preflight_plan_delete(const struct work *w, struct jobs_preflight *p);

/* The checks that need no read. */
struct findings {
    struct arena *arena;
    struct finding *items;
    size_t n, cap;
};
void findings_add(struct findings *l, enum finding_severity severity, const char *code,
                  const char *pointer, const char *reason, const char *remedy);
void preflight_check_spec(const struct preflight_facts *f, struct findings *out);
void preflight_check_reads(const struct preflight_facts *f, struct findings *out);

#endif
