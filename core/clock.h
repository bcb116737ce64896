/*
 * Time and randomness, passed in so that tests need not sleep or guess.
 *
 * Wall time is milliseconds since 1970 UTC; monotonic time is milliseconds since some start and never
 * goes back. Both structs are read-only after they are made and may be shared by threads.
 */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

#include "core/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct clock {
    int64_t (*wall_ms)(void *ctx);
    int64_t (*mono_ms)(void *ctx);
    void *ctx;
    int rate; /* so many of its ms go by in one of the machine's (tests); 0: 1 */
};

extern const struct clock clock_system;

int64_t clock_wall(const struct clock *c);
int64_t clock_mono(const struct clock *c);
/* What the machine has to wait until so many ms of this clock are over. */
int64_t clock_real_ms(const struct clock *c, int64_t ms);

/* A clock that stands still until it is told to go on (tests). */
struct manual_clock {
    int64_t wall;
    int64_t mono;
};
struct clock clock_manual(struct manual_clock *m);

/* Cryptographic randomness from OpenSSL; ends the process where that fails. */
void random_bytes(void *out, size_t n);
/* The same for what is no secret (ids of requests, traces, rows), drawn ahead for each thread: OpenSSL's
 * generator costs more by call than by byte. At most 64 bytes; not for a child after fork. */
void random_id(void *out, size_t n);

#define UUID_SIZE 37
/* RFC 9562: version 4, and version 7 for ids that are sorted: those of one process in the order in which they were
 * made, also within a millisecond, so that an index only ever grows at its end. */
void uuid_v4(char out[UUID_SIZE]);
void uuid_v7(int64_t wall_ms, char out[UUID_SIZE]);
/* 8-4-4-4-12 hex digits of either case. */
bool uuid_valid(const char *s);

#define TIME_TEXT_SIZE 25
/* RFC 3339 in UTC with milliseconds. */
void time_format(int64_t ms, char out[TIME_TEXT_SIZE]);
/* RFC 3339 with any offset. */
bool time_parse(const char *s, int64_t *ms);
/* ISO 8601 duration of days and time ("P1DT2H", "PT30M", "PT1.5S" is refused). */
bool duration_parse(const char *s, int64_t *ms);

#endif
