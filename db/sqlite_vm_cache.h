/*
 * Rows of VMs as they are read by ARM id: dashboards ask for the same few again and again, and a read
 * transaction costs more than the rest of such a request. Only db/ includes this.
 *
 * What a reader sees is never older than the last write that was acknowledged, and never goes back:
 * a row leaves the cache before the transaction that changes it commits, and none enters while one is
 * being committed or has been since the reader began. SQLite itself tells which rows change
 * (sqlite3_update_hook), so no statement can be forgotten. Thread-safe, but for what says otherwise.
 */
#ifndef DB_SQLITE_VM_CACHE_H
#define DB_SQLITE_VM_CACHE_H

#include "core/arena.h"
#include "db/records.h"

#include <sqlite3.h>

struct vm_cache;

struct vm_cache *vm_cache_new(void); /* never NULL */
void vm_cache_free(struct vm_cache *c);

/* True: *out is the row with this key, its texts in the arena. False: read it, and vm_cache_put it
 * with what *began holds now. `key` is in lower case. */
bool vm_cache_get(struct vm_cache *c, const char *key, struct arena *a, struct vm *out,
                  uint64_t *began);
void vm_cache_put(struct vm_cache *c, const char *key, int64_t rowid, const struct vm *vm,
                  uint64_t began);

/* The writer's thread only. Watches its connection; settle: the transaction is about to be committed
 * (begin), or it has ended one way or the other (end). */
void vm_cache_watch(struct vm_cache *c, sqlite3 *writer);
void vm_cache_commit_begin(struct vm_cache *c);
void vm_cache_commit_end(struct vm_cache *c);

#endif
