/*
 * The last report of each VM as the writer left it: the next one mostly says the same, and need not look
 * that up. The writer's thread only.
 *
 * What is found here is what the transaction under way would read. Only db_history_add puts something in;
 * whoever deletes a VM's last report or a log forgets them, and the writer all of it where something is
 * rolled back. Bounded: so many VMs, and texts of so many bytes.
 */
#ifndef DB_SQLITE_LAST_H
#define DB_SQLITE_LAST_H

#include <stdbool.h>
#include <stdint.h>

#define CONTENT_SIZE  16
#define CONTENT_TEXTS 7
#define CONTENT_LOG   5 /* which of them is the log's digest */

struct last_report {
    int64_t n;
    int64_t received_at;
    int64_t log_used_at;       /* of its log, which is held; 0: it has none */
    const char *hour_verdicts; /* sqlite_history.c */
    const char *texts[CONTENT_TEXTS];
    uint8_t content[CONTENT_SIZE]; /* names the texts */
};

struct last_reports;

struct last_reports *last_reports_new(void); /* never NULL */
void last_reports_free(struct last_reports *l);

/* NULL: not known here. It stands until the next call of any other function. */
const struct last_report *last_reports_find(struct last_reports *l, const char *vm_key);
/* Its texts are copied, unless they are those of what is there for the VM (`same`). */
void last_reports_put(struct last_reports *l, const char *vm_key, const struct last_report *r,
                      bool same);
void last_reports_forget(struct last_reports *l, const char *vm_key);
void last_reports_forget_all(struct last_reports *l);

#endif
