/*
 * What Azure asks of a virtual machine: size, image, security type, administrator, immutable
 * properties; and what it adds: vmId, OS disk, identity. The hooks of the rows in types_compute.c.
 */
#ifndef EMULATOR_RULES_VM_H
#define EMULATOR_RULES_VM_H

#include "emulator/arm.h"

bool rules_vm_prepare(struct arm_call *c, const json_t *old, json_t *body);
void rules_vm_stored(struct arm_call *c, const json_t *old, json_t *body);
void rules_vm_removed(struct emulator *em, const char *key, const json_t *body);
void rules_vm_show(struct arm_call *c, const json_t *body, json_t *view);
bool rules_vm_prepare_extension(struct arm_call *c, const json_t *old, json_t *body);
/* Sizes, ids and times that a disk has besides what was asked for. */
void rules_vm_complete_disk(struct arm_call *c, json_t *body);

/* What an image says about the VMs made of it. */
struct vm_image {
    char generation[4];   /* "V1", "V2" */
    char architecture[8]; /* "x64", "Arm64" */
    char security[48];    /* feature SecurityType; "" where there is none */
    char os[8];
    char exact_version[32];
    bool specialized;
    int size_gb;
    char name[256]; /* for messages */
};
/* False: answered; so all of these. rules_image.c */
bool rules_vm_image(struct arm_call *c, const json_t *reference, const char *location,
                    struct vm_image *out);
bool rules_vm_security(struct arm_call *c, const json_t *old, json_t *body,
                       const struct vm_image *image);
/* rules_os.c */
bool rules_vm_os_profile(struct arm_call *c, json_t *body, const struct vm_image *image);
/* "Required parameter '...' is missing (null)." */
bool rules_vm_missing(struct arm_call *c, const char *what);

#endif
