/*
 * Tables that remember the last of something in a fixed number of slots. The slots come in sets of a few: a key may
 * stand in any slot of its set, so that two keys that meet do not drive each other out in turn.
 */
#ifndef CORE_WAYS_H
#define CORE_WAYS_H

#include <stddef.h>
#include <stdint.h>

#define WAYS 4 /* slots of a set; a table has a multiple of it */

/* The first slot of a key's set in a table of `slots`. `hash`: any bits that differ from key to key. */
static inline size_t ways_first(uint64_t hash, size_t slots)
{
    return (size_t)((hash ^ hash >> 32) % (slots / WAYS)) * WAYS;
}

/* FNV-1a: of keys that their owners do not choose freely. */
static inline uint64_t ways_hash(const char *key)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (const char *p = key; *p; p++)
        h = (h ^ (unsigned char)*p) * 0x100000001b3u;
    return h;
}

#endif
