/*
 * Azure Resource Manager: what a call carries on its way, the table of resource types, and the
 * helpers that the parts answer with.
 *
 * One row per resource type (struct arm_type): path, body, statuses, asynchronous pattern and its few
 * rules. resource.c works on rows, so a new type is a new row. The caller of everything here holds
 * the emulator's lock.
 */
#ifndef EMULATOR_ARM_H
#define EMULATOR_ARM_H

#include "emulator/context.h"
#include "emulator/entra.h"
#include "emulator/shape.h"

#define ARM_NAMES_MAX 4

struct arm_type;

/* What a path addresses. Names point into the request's arena. */
struct arm_target {
    const char *subscription;
    const char *group; /* NULL: subscription level */
    const char *ns;    /* NULL: no provider in the path */
    const struct arm_type *type;
    const char *names[ARM_NAMES_MAX];
    unsigned n_names;
    bool collection;    /* the path ends in the type */
    const char *action; /* word behind the resource, or NULL */
    const char *id;     /* canonical id of the resource (of the collection's parent otherwise) */
    const char *key;    /* the same in lower case */
    const char *parent; /* canonical id of the parent resource or resource group */
    char *segments[16]; /* of the whole path */
    unsigned n_segments;
};

struct arm_call {
    struct emulator *em;
    const struct http_request *req;
    struct http_response *resp;
    struct arena *arena;
    int64_t now;
    const char *api_version;
    struct entra_caller caller;
    struct arm_target at;
    json_t *body; /* parsed request body or NULL */
    char request_id[UUID_SIZE];
    char correlation_id[UUID_SIZE];
    const json_t *lro_fault; /* {"lro","error"} of a fault that the started operation takes */
    const char *note;        /* for the request log */
    int64_t retry_after;     /* s; what the answer told, or 0 */
    const char *reboot;      /* vmId whose vTPM boots anew once the call is answered */
};

/* How a verb ends. */
enum arm_async {
    ARM_SYNC,
    ARM_AAO,     /* Azure-AsyncOperation */
    ARM_AAO_LOC, /* and Location */
    ARM_LOC,     /* Location only */
};

struct arm_type {
    const char *ns;              /* "Microsoft.Compute" */
    const char *path;            /* "virtualMachines/extensions" */
    const char *const *versions; /* NULL-terminated, oldest first */
    const struct shape *shape;
    enum arm_async put, patch, del;
    int created;           /* status of a PUT that creates */
    int updated;           /* and of one that updates */
    const char *embedded;  /* array of the parent's properties that holds these, or NULL */
    const char *embeds[2]; /* arrays of its own properties whose items are resources of a kind */
    bool located;          /* has location and tags of its own */
    bool merges;           /* a PUT leaves what it does not mention */
    bool tags_only;        /* PATCH takes only tags */
    unsigned name_max;
    const char *name_extra; /* characters beside letters and digits */
    /* Checks and completes the new body (id, name, type, location are set); `old` is NULL where it
     * creates. False: answered. */
    bool (*prepare)(struct arm_call *c, const json_t *old, json_t *body);
    /* After the body is stored, before the answer. */
    void (*stored)(struct arm_call *c, const json_t *old, json_t *body);
    /* May it go now? False: answered. */
    bool (*may_delete)(struct arm_call *c, const json_t *body);
    /* The last of it, when the record is already gone. */
    void (*removed)(struct emulator *em, const char *key, const json_t *body);
    /* Adds what is computed to a copy that is about to be answered. */
    void (*show)(struct arm_call *c, const json_t *body, json_t *view);
};

extern const struct arm_type *const arm_types[];
extern const size_t arm_n_types;
/* The row, or NULL. Compared without case. */
const struct arm_type *arm_type_find(const char *ns, const char *path);

/* Splits and recognises a path. False: answered (404 or 400). */
bool arm_target_parse(struct arm_call *c);
/* The target of a canonical or given id; false where it is no resource of a known type. */
bool arm_target_of_id(struct arm_call *c, const char *id, struct arm_target *out);

/* {"error":{"code","message"}}; always returns false. */
bool arm_error(struct arm_call *c, int status, const char *code, const char *fmt, ...) PRINTF(4, 5);
/* With a target, and with one inner error. */
bool arm_error_at(struct arm_call *c, int status, const char *code, const char *target,
                  const char *fmt, ...) PRINTF(5, 6);
bool arm_error_inner(struct arm_call *c, int status, const char *code, const char *message,
                     const char *inner, const char *fmt, ...) PRINTF(6, 7);

/* Compute's token buckets: `each` per resource (where given), `sub` per subscription. False: answered
 * 429. */
bool arm_compute_bucket(struct arm_call *c, const char *policy, const char *resource,
                        struct bucket_size each, struct bucket_size sub);

/* The base of absolute URLs: the address the client used. */
const char *arm_base(struct arm_call *c);
char *arm_lower(struct arena *a, const char *s);
/* Strings of a body by path; "" where absent. */
const char *arm_text(const json_t *v, const char *path);
bool arm_flag(const json_t *v, const char *path);
/* json_path for a tree that is the caller's to change. */
json_t *arm_member(const json_t *v, const char *path);
/* Sets the member where there is none; takes `value` either way. */
void arm_default(json_t *v, const char *name, json_t *value);
/* Region names without blanks and case: "West Europe" is westeurope. NULL where there is no such. */
const char *arm_location(const char *text);

/* Entry: everything that is not Entra ID's or /_emulator. Takes the lock itself. */
void arm_handle(struct emulator *em, const struct http_request *req, struct http_response *resp);

#endif
