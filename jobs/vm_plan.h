/*
 * What one VM of the gateway consists of: names, ids and settings with every default applied.
 *
 * Steps and preflight build their requests from this and nothing else, so that a dry run shows what
 * a job will send. Pure: made from the spec in an arena, read-only afterwards.
 */
#ifndef JOBS_VM_PLAN_H
#define JOBS_VM_PLAN_H

#include "core/buf.h"
#include "core/json.h"
#include "jobs/jobs.h"

/* Newest stable versions whose body schemas are published. */
#define API_RESOURCES "2025-04-01"
#define API_NETWORK   "2025-09-01"
#define API_COMPUTE   "2026-04-01"
#define API_DISKS     "2026-03-02"
#define API_GALLERY   "2025-12-03"
#define API_SKUS      "2021-07-01"
#define API_FEATURES  "2021-07-01"

/* Everything the gateway makes carries this tag; its value is the id of the job that made the VM.
 */
#define TAG_JOB "tlgate-job"

#define SUBNET_NAME    "default"
#define SUBNET_BITS    24 /* the subnet is the network's first /24, or all of it where smaller */
#define VNET_PREFIX    "10.0.0.0/16"
#define REDACTED       "<redacted>"
#define ATTEST_WAIT_MS (30 * 60 * 1000)
#define EXTENSION_NAME "GuestAttestation"

struct vm_plan {
    const char *subscription;
    const char *resource_group;
    const char *name;
    const char *location;
    const char *size;
    bool windows;

    /* image: a gallery version, or the four */
    const char *gallery_version;
    const char *publisher, *offer, *sku, *version;

    bool trusted; /* false: securityType Standard was asked for */
    bool secure_boot, vtpm;
    bool monitoring; /* Azure's: the extension is installed */
    bool attested;   /* ours: reports are expected */

    const char *admin;
    struct str_list ssh_keys;
    bool has_password;

    struct int_list ports;
    const char *source;

    bool makes_vnet; /* false: subnet_id was given */
    bool vnet_named; /* the spec names the network, so that an existing one is used */
    const char *vnet_prefix;
    const char *subnet_prefix;
    bool ip_public;

    bool make_group;
    bool wait_attestation;
    int64_t attestation_timeout_ms;
    struct str_map tags;

    /* ARM ids: paths without host and query */
    const char *group_id, *nsg_id, *vnet_id, *subnet_id, *pip_id, *nic_id, *vm_id, *extension_id,
        *disk_id;
    const char *disk_name;
};

/* A spec as it was stored, without its password; NULL where the text is not one. */
struct vm_spec *spec_load(struct arena *a, const char *text);

/* Where no spec is known (a delete), `spec` is NULL and only names and ids are set. */
struct vm_plan *vm_plan_of(struct arena *a, const struct jobs_vm_ref *vm,
                           const struct vm_spec *spec);

/* Which parts of a VM that was made from the stored spec `was` must be written again to be as `spec`
 * says (enum vm_change of workflow.h). */
int64_t vm_changes(struct arena *a, const struct jobs_vm_ref *vm, const char *was,
                   const struct vm_spec *spec);

/* What only the job knows; redacted for a dry run. */
struct vm_secrets {
    const char *owner;    /* value of TAG_JOB */
    const char *password; /* NULL where keys are used */
    const char *gateway;  /* userData: URL and token; NULL where the VM has no vTPM */
    const char *token;
};

/* The ARM bodies, written into `out`. */
void vm_body_group(const struct vm_plan *p, const struct vm_secrets *s, struct buf *out);
void vm_body_nsg(const struct vm_plan *p, const struct vm_secrets *s, struct buf *out);
void vm_body_vnet(const struct vm_plan *p, const struct vm_secrets *s, struct buf *out);
void vm_body_pip(const struct vm_plan *p, const struct vm_secrets *s, struct buf *out);
void vm_body_nic(const struct vm_plan *p, const struct vm_secrets *s, struct buf *out);
void vm_body_vm(const struct vm_plan *p, const struct vm_secrets *s, struct buf *out);
/* What a change of an existing VM sends: never the password, which Azure refuses on an update. */
void vm_body_vm_patch(const struct vm_plan *p, const struct vm_secrets *s, struct buf *out);
void vm_body_extension(const struct vm_plan *p, const struct vm_secrets *s, struct buf *out);

#endif
