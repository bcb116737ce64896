/* Hooks of the rows in types_network.c; see struct arm_type for what each kind does. */
#ifndef EMULATOR_RULES_NETWORK_H
#define EMULATOR_RULES_NETWORK_H

#include "emulator/arm.h"

bool rules_network_prepare_group(struct arm_call *c, const json_t *old, json_t *body);
void rules_network_show_group(struct arm_call *c, const json_t *body, json_t *view);
bool rules_network_may_delete_group(struct arm_call *c, const json_t *body);
bool rules_network_prepare_rule(struct arm_call *c, const json_t *old, json_t *body);
bool rules_network_prepare_network(struct arm_call *c, const json_t *old, json_t *body);
bool rules_network_prepare_subnet(struct arm_call *c, const json_t *old, json_t *body);
void rules_network_show_subnet(struct arm_call *c, const json_t *body, json_t *view);
void rules_network_show_network(struct arm_call *c, const json_t *body, json_t *view);
bool rules_network_may_delete_subnet(struct arm_call *c, const json_t *body);
bool rules_network_may_delete_network(struct arm_call *c, const json_t *body);
bool rules_network_prepare_address(struct arm_call *c, const json_t *old, json_t *body);
void rules_network_show_address(struct arm_call *c, const json_t *body, json_t *view);
bool rules_network_may_delete_address(struct arm_call *c, const json_t *body);
bool rules_network_prepare_nic(struct arm_call *c, const json_t *old, json_t *body);
void rules_network_show_nic(struct arm_call *c, const json_t *body, json_t *view);
bool rules_network_may_delete_nic(struct arm_call *c, const json_t *body);

/* What the hooks share. A resourceGuid, the one of `old` where it has one. */
void rules_network_guid(json_t *properties, const json_t *old);
/* Id, type, etag and properties of the items of `array`. False: answered. */
bool rules_network_children(struct arm_call *c, json_t *body, const char *array, const char *type);
/* The first part of another resource that refers to `id`; "" where none does. */
const char *rules_network_referrer(struct emulator *em, const char *id);
/* The ids of those parts that hold `word`, as [{"id"}], or NULL where there is none. */
json_t *rules_network_referrers(struct emulator *em, const char *id, const char *word);
/* Puts a list (which it takes; NULL: nothing) among the properties. */
void rules_network_add_list(json_t *view, const char *name, json_t *list);

#endif
