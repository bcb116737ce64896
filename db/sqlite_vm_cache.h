/*
 * Rows of VMs as they are read by ARM id: dashboards ask for the same few again and again, and a read
 * transaction costs more than the rest of such a request. Only db/ includes this.
 *
 * What a reader sees is never older than the last write that was acknowledged, and never goes back:
 * a row leaves the cache before the commit that changes it can be seen, and none enters from then until
 * its end, or where one was since the reader began. SQLite itself tells which rows change
 * (sqlite3_update_hook), so no statement can be forgotten. A verb that has a row before it as it will
 * be may leave it for the readers to come. Thread-safe, but for what says otherwise.
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
void vm_cache_put(struct vm_cache *c, const char *key, const struct vm *vm, uint64_t began);
/* The row that vm_cache_get gave with this `reading` is still here. */
bool vm_cache_stands(const struct vm_cache *c, uint64_t reading);

/* The writer's thread only, from here on. Watches its connection; the transaction is about to be
 * committed (begin), what it wrote is durable but not seen yet (synced; without a begin it is nothing), it
 * has ended (end). Readers are without its rows from `synced` to `end` only. */
void vm_cache_watch(struct vm_cache *c, sqlite3 *writer);
/* What belongs to this row of vm has changed in another table. */
void vm_cache_note(struct vm_cache *c, int64_t rowid);
void vm_cache_commit_begin(struct vm_cache *c);
void vm_cache_commit_synced(struct vm_cache *c);
void vm_cache_commit_end(struct vm_cache *c, bool committed);

/* The row within the transaction, until the end of the batch; false: read it. */
bool vm_cache_peek(struct vm_cache *c, const char *key, struct arena *a, struct vm *out);
/* The row as this transaction has made it enters the cache with its commit, unless it is written once
 * more before that. All that is given must live until then. */
void vm_cache_offer(struct vm_cache *c, struct arena *a, const char *key, const struct vm *vm);
/* What was offered so far; a verb that is taken back leaves no more than was there before it. */
struct vm_offer *vm_cache_offers(const struct vm_cache *c);
void vm_cache_take_back(struct vm_cache *c, struct vm_offer *offers);

#endif
