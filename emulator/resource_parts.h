/* Between the files resource*.c: the generic verbs' parts. Checks answer and return false. */
#ifndef EMULATOR_RESOURCE_PARTS_H
#define EMULATOR_RESOURCE_PARTS_H

#include "emulator/arm.h"

/* resource_store.c */
typedef void resource_reference_fn(void *ctx, const char *target, const char *part);
/* Every member "id" that is not of the resource `own` itself is a reference; `part` is the nearest id
 * of its own around it (an ipConfiguration of a network interface). */
void resource_each_reference(const json_t *v, const char *own, const char *part,
                             resource_reference_fn *fn, void *ctx);
const struct arm_type *resource_type(const json_t *record);
const char *resource_type_name(struct arena *a, const struct arm_type *type);
/* The body a target addresses, also an embedded one, or NULL. Borrowed. */
json_t *resource_find(struct emulator *em, struct arena *a, const struct arm_target *t);
/* Stores under `key`, index included. Takes body. */
void resource_write(struct emulator *em, const char *key, const char *type_name, json_t *body);

/* resource_read.c */
bool resource_not_found(struct arm_call *c);
void resource_etag_header(struct arm_call *c, const json_t *body);
void resource_get(struct arm_call *c);
void resource_list(struct arm_call *c);

/* resource_check.c; `old` is NULL where the write creates */
bool resource_name_valid(struct arm_call *c);
/* The request's body in the type's shape, or NULL (answered). */
json_t *resource_input(struct arm_call *c, bool partial, bool keep_nulls);
/* Normalises or inherits `in`'s location. */
bool resource_location_fits(struct arm_call *c, const json_t *old, json_t *in);
bool resource_preconditions_hold(struct arm_call *c, const json_t *old);
/* Of what the caller sent: what Azure adds (an OS disk) comes into being with the resource. */
bool resource_references_hold(struct arm_call *c, const json_t *body);
/* No other operation holds it; each provider refuses in its own way. */
bool resource_not_busy(struct arm_call *c, const json_t *record);

#endif
