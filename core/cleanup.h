/*
 * Cleanup attributes for foreign handles: AUTO(json) json_t *v = NULL; frees at the end of the scope;
 * TAKE(v) hands it over. Each folder defines the cleanups of its own libraries with AUTO_DEFINE.
 */
#ifndef CORE_CLEANUP_H
#define CORE_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define AUTO(kind) __attribute__((cleanup(auto_##kind)))

#define AUTO_DEFINE(kind, type, release)                                                           \
    static inline void auto_##kind(type *p)                                                        \
    {                                                                                              \
        if (*p)                                                                                    \
            release(*p);                                                                           \
    }

#define TAKE(p)                                                                                    \
    ({                                                                                             \
        __typeof__(p) taken_ = (p);                                                                \
        (p) = NULL;                                                                                \
        taken_;                                                                                    \
    })

static inline void auto_free(void *p)
{
    free(*(void **)p);
}

static inline void auto_fd(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

AUTO_DEFINE(file, FILE *, fclose)

#endif
