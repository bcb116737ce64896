/*
 * The generic verbs over the rows of arm_types, and the index of who refers to whom.
 *
 * State: lower-case id -> {"type":"Microsoft.Compute/virtualMachines","body":{...},"op":guid}.
 * A child that its parent embeds (subnets, securityRules) lives in the parent's array.
 */
#ifndef EMULATOR_RESOURCE_H
#define EMULATOR_RESOURCE_H

#include "emulator/arm.h"

/* PUT, PATCH, GET, HEAD, DELETE of c->at and lists of its collection. Answers. */
void resource_handle(struct arm_call *c);
/* GET of everything in a resource group or subscription (".../resources"); false where the path is
 * none of these. */
bool resource_list_all(struct arm_call *c);
/* The body at a canonical id in any case (also an embedded child), or NULL. Borrowed. */
json_t *resource_body(struct emulator *em, const char *id);
json_t *resource_record(struct emulator *em, const char *key);
/* Stores a record that another resource brought into being (an OS disk). Takes body. */
void resource_store(struct emulator *em, const struct arm_type *type, const char *id, json_t *body);
/* Removes the record, its children and its references, and calls the row's `removed`. */
void resource_remove(struct emulator *em, const char *key);
/* Writes the record after its body was changed in place. */
void resource_save(struct emulator *em, const char *key);
/* As it is answered: hidden members gone, computed ones added. New reference. */
json_t *resource_view(struct arm_call *c, const struct arm_type *type, const json_t *body);
/* Who refers to it, its own children included: {"<key of the referring resource>":"<id of the referring part>"} or NULL. Borrowed. */
const json_t *resource_referrers(struct emulator *em, const char *id);
/* Builds the index after a start. */
void resource_open(struct emulator *em);
/* Every record whose key begins with `prefix`: a new array of keys. */
json_t *resource_keys(struct emulator *em, const char *prefix);
/* The record of a path's parent group is there and not being deleted. False: answered. */
bool resource_group_usable(struct arm_call *c);
/* Page of `all` (which it takes) as {"value","nextLink"}. */
void resource_reply_list(struct arm_call *c, json_t *all);

#endif
