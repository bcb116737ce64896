/*
 * SBAT levels (shim's SBAT.md): CSV lines "component,generation[,...]", the first of them
 * "sbat,1,<date of the revision>". A component below the level's generation is revoked.
 */
#ifndef ATTEST_SBAT_H
#define ATTEST_SBAT_H

#include "core/bytes.h"

#define SBAT_COMPONENTS_MAX 64 /* that are told */
#define SBAT_NAME_MAX       32

struct sbat_entry {
    struct bytes component;
    uint32_t generation;
    struct bytes rest; /* behind the generation: the date in the first line; may be empty */
};

struct sbat_walk {
    struct bytes left;
    bool bad; /* a line was not of the form; nothing follows */
};

struct sbat_walk sbat_lines(struct bytes text);
/* False at the end, and at a line that is not well-formed. */
bool sbat_next(struct sbat_walk *w, struct sbat_entry *out);

/* The component's name with everything but printable ASCII as '?', cut at SBAT_NAME_MAX. */
void sbat_name(const struct sbat_entry *e, char out[SBAT_NAME_MAX + 1]);

/* Generation that `level` asks of a component; 0 where it asks none. */
uint32_t sbat_generation(struct bytes level, const char *component);
/* The date of the revision (2023012900), 0 where the level names none. */
uint64_t sbat_revision(struct bytes level);
/* True where every component of `minimum` is in `level` with at least that generation, and the
 * revision is no earlier. `missing` is the first component that is not. */
bool sbat_at_least(struct bytes level, struct bytes minimum, struct bytes *missing);

#endif
