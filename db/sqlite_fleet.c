#include "db/sqlite.h"

/* Statuses that end when the last report is too old (vm_apply_age). */
static bool status_ages(enum vm_status s)
{
    return s == VM_HEALTHY || s == VM_UNHEALTHY;
}

/* True in SQL where the last report does not count any more. What stands in the row is never newer than
 * the last report, so only rows that seem too old are looked up in vm_echo. */
static void filter_stale(struct filter *f, const char *before, const struct vm_filter *in)
{
    static const char echo[] = " AND NOT EXISTS (SELECT 1 FROM vm_echo WHERE echo_vm = vm.id AND";
    filter_add(f, before);
    filter_int(f, " CASE WHEN stale_at > 0 THEN stale_at <= ", in->now);
    filter_add(f, echo);
    filter_int(f, " echo_stale_at > ", in->now);
    filter_int(f, ") ELSE last_report_at < ", in->fresh_after);
    filter_add(f, echo);
    filter_int(f, " echo_at >= ", in->fresh_after);
    filter_add(f, ") END");
}

static void filter_status(struct filter *f, enum vm_status status, const struct vm_filter *in)
{
    if (status == VM_UNKNOWN) {
        filter_stale(f, " AND (status = 'unknown' OR (status IN ('healthy','unhealthy') AND", in);
        filter_add(f, "))");
        return;
    }
    filter_text(f, " AND status = ", vm_status_text(status));
    if (status != VM_HEALTHY)
        filter_add(f, " AND " VM_ALARM);
    if (status_ages(status))
        filter_stale(f, " AND NOT", in);
}

enum err store_list_vms(struct store *s, struct arena *a, const struct vm_filter *in,
                        struct vm_list *out, struct err_info *e)
{
    size_t limit = (size_t)in->page.limit;
    *out = (struct vm_list){.items = arena_array(a, limit + 1, sizeof *out->items)};
    struct filter f = filter_of("SELECT " VM_COLUMNS " FROM " VM_TABLES " WHERE 1 = 1");
    filter_below(&f, a, "resource_key", in->scope);
    filter_below(&f, a, "resource_key", in->within);
    if (in->status)
        filter_status(&f, *in->status, in);
    if (in->with_policy)
        filter_add(&f, " AND policy IS NOT NULL");
    filter_text(&f, " AND vm_key = ", db_key_of(a, in->vm_id));
    filter_text(&f, " AND origin = ", in->origin);
    filter_text(&f, " AND certificates_state = ", in->certificates_state);
    filter_text(&f, " AND resource_key > ", db_key_of(a, in->page.after));
    filter_int(&f, " ORDER BY resource_key LIMIT ", in->page.limit + 1);
    AUTO(reader) struct reader r = db_reader_take(s);
    AUTO(query) struct query q = filter_query(&f, r.conn);
    while (q_step(&q))
        db_vm_read_row(&q, a, &out->items[out->n++]);
    out->more = out->n > limit;
    out->n -= out->more;
    for (size_t i = 0; i < out->n; i++)
        vm_apply_age(a, &out->items[i], in->fresh_after, in->now);
    return q_end(&q, e);
}

/* How many there are of each status, and of how many of these the last report does not count any more. */
static void select_counts(struct filter *f, struct arena *a)
{
    for (int i = 0; i < VM_STATUSES; i++) {
        const char *text = vm_status_text((enum vm_status)i);
        filter_add(f, arena_printf(a, ", sum(status = '%s')", text));
        if (status_ages((enum vm_status)i))
            filter_add(f, arena_printf(a, ", sum(status = '%s' AND old)", text));
    }
}

static void read_counts(struct query *q, struct vm_summary *out)
{
    out->total = q_get_int(q);
    for (int i = 0; i < VM_STATUSES; i++) { /* NULL, which is read as 0, where there is no VM */
        int64_t n = q_get_int(q);
        int64_t old = status_ages((enum vm_status)i) ? q_get_int(q) : 0;
        out->by_status[i] += n - old;
        out->by_status[VM_UNKNOWN] += old;
    }
}

/* One walk along vm_fleet. */
enum err store_count_vms(struct store *s, const struct vm_filter *in, struct vm_summary *out,
                         struct err_info *e)
{
    *out = (struct vm_summary){0};
    struct arena *a = arena_new();
    struct filter f = filter_of("SELECT count(*)");
    select_counts(&f, a);
    filter_add(&f, " FROM (SELECT status,");
    filter_stale(&f, "", in);
    filter_add(&f, " AS old FROM vm WHERE 1 = 1");
    filter_below(&f, a, "resource_key", in->scope);
    filter_below(&f, a, "resource_key", in->within);
    filter_add(&f, ")");
    AUTO(reader) struct reader r = db_reader_take(s);
    AUTO(query) struct query q = filter_query(&f, r.conn);
    if (q_step(&q))
        read_counts(&q, out);
    enum err err = q_end(&q, e);
    arena_free(a);
    return err;
}

enum err store_count_certificates(struct store *s, struct arena *a, const struct vm_filter *in,
                                  struct certificates_counts *out, struct err_info *e)
{
    size_t room = 0;
    *out = (struct certificates_counts){0};
    struct filter f = filter_of("SELECT certificates, count(*) FROM vm WHERE 1 = 1");
    filter_below(&f, a, "resource_key", in->scope);
    filter_below(&f, a, "resource_key", in->within);
    filter_add(&f, " GROUP BY certificates");
    AUTO(reader) struct reader r = db_reader_take(s);
    AUTO(query) struct query q = filter_query(&f, r.conn);
    while (q_step(&q)) {
        if (out->n == room) {
            struct certificates_count *more = arena_array(a, room = 2 * room + 16, sizeof *more);
            if (out->n)
                memcpy(more, out->items, out->n * sizeof *more);
            out->items = more;
        }
        struct certificates_count *c = &out->items[out->n++];
        c->certificates = q_get_int(&q);
        c->n = q_get_int(&q);
    }
    return q_end(&q, e);
}
