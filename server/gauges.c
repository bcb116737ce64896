#include "server/gauges.h"

#include "arm/arm.h"
#include "core/log.h"
#include "attest/attest.h"
#include "db/store.h"
#include "jobs/jobs.h"
#include "server/http.h"

static const struct {
    enum metric_kind kind;
    const char *name;
    const char *help;
} families[] = {
    {METRIC_GAUGE, "tlgate_build_info", "Always 1; the version is a label"},
    {METRIC_GAUGE, "tlgate_http_connections", "Open connections"},
    {METRIC_GAUGE, "tlgate_http_requests_in_flight", "Requests not yet answered"},
    {METRIC_COUNTER, "tlgate_log_lines_lost_total", "Lines of the log that could not be written"},
    {METRIC_COUNTER, "tlgate_attestation_reports_total", "Reports by verdict"},
    {METRIC_GAUGE, "tlgate_attestation_trust_expires_seconds",
     "When the first of the issuers of AKs expires (seconds since 1970)"},
    {METRIC_COUNTER, "tlgate_attestation_rejudged_total",
     "VMs whose last report was judged again after a change of policy or baseline"},
    {METRIC_COUNTER, "tlgate_store_writes_total", "Store operations executed"},
    {METRIC_COUNTER, "tlgate_store_commits_total", "Transactions; writes by commits is the batch"},
    {METRIC_COUNTER, "tlgate_store_commit_failures_total", "Transactions that failed"},
    {METRIC_COUNTER, "tlgate_store_commit_seconds_total", "Time in transactions"},
    {METRIC_GAUGE, "tlgate_store_commit_seconds_max", "Longest transaction since the start"},
    {METRIC_GAUGE, "tlgate_store_batch_max", "Most operations in one transaction"},
    {METRIC_GAUGE, "tlgate_store_queue", "Operations that wait for the writer"},
    {METRIC_COUNTER, "tlgate_store_checkpoints_total", "Checkpoints of the WAL"},
    {METRIC_GAUGE, "tlgate_store_wal_bytes", "Size of the WAL"},
    {METRIC_GAUGE, "tlgate_store_db_bytes", "Size of the database"},
    {METRIC_GAUGE, "tlgate_jobs", "Jobs by state"},
    {METRIC_COUNTER, "tlgate_jobs_ended_total", "Jobs that ended since the start, by state"},
    {METRIC_COUNTER, "tlgate_job_steps_done_total", "Steps done since the start"},
    {METRIC_COUNTER, "tlgate_job_arm_requests_total", "ARM requests of jobs"},
    {METRIC_COUNTER, "tlgate_job_arm_retries_total", "ARM requests of jobs that were sent again"},
    {METRIC_COUNTER, "tlgate_job_arm_throttled_total", "ARM requests of jobs that were throttled"},
    {METRIC_GAUGE, "tlgate_job_arm_in_flight", "ARM requests of jobs on the wire"},
    {METRIC_COUNTER, "tlgate_arm_replies_total", "Replies of ARM by class of status"},
    {METRIC_COUNTER, "tlgate_arm_held_total", "Requests not sent because ARM said when"},
    {METRIC_COUNTER, "tlgate_arm_throttled_total", "Replies 429 of ARM"},
    {METRIC_COUNTER, "tlgate_arm_tokens_total", "Tokens by outcome"},
    {METRIC_COUNTER, "tlgate_arm_connections_total", "Connections opened to ARM"},
    {METRIC_GAUGE, "tlgate_arm_in_flight", "Requests on the wire"},
    {METRIC_GAUGE, "tlgate_arm_in_line", "Requests that wait for their turn"},
};

static void set(struct metrics *m, const char *name, int64_t v)
{
    metrics_set(m, name, NULL, (double)v);
}

static void set_by(struct metrics *m, const char *name, const char *key, const char *value,
                   int64_t v)
{
    struct buf labels = {0};
    metrics_label(&labels, key, value);
    metrics_set(m, name, labels.data, (double)v);
    buf_free(&labels);
}

static void read_store(struct metrics *m, struct store *s)
{
    struct store_stats stats;
    struct job_counts jobs;
    store_stats_get(s, &stats);
    set(m, "tlgate_store_writes_total", stats.writes);
    set(m, "tlgate_store_commits_total", stats.commits);
    set(m, "tlgate_store_commit_failures_total", stats.commit_failures);
    metrics_set(m, "tlgate_store_commit_seconds_total", NULL, (double)stats.commit_us_total / 1e6);
    metrics_set(m, "tlgate_store_commit_seconds_max", NULL, (double)stats.commit_us_max / 1e6);
    set(m, "tlgate_store_batch_max", stats.batch_max);
    set(m, "tlgate_store_queue", stats.queued);
    set(m, "tlgate_store_checkpoints_total", stats.checkpoints);
    set(m, "tlgate_store_wal_bytes", stats.wal_bytes);
    set(m, "tlgate_store_db_bytes", stats.db_bytes);
    if (store_count_jobs(s, &jobs, NULL))
        return;
    for (int i = 0; i < JOB_STATES; i++)
        set_by(m, "tlgate_jobs", "state", job_state_text((enum job_state)i), jobs.by_state[i]);
}

static void read_jobs(struct metrics *m, const struct jobs *j)
{
    struct jobs_counts n;
    jobs_counts(j, &n);
    set(m, "tlgate_job_steps_done_total", n.steps_done);
    set_by(m, "tlgate_jobs_ended_total", "state", "succeeded", n.jobs_succeeded);
    set_by(m, "tlgate_jobs_ended_total", "state", "failed", n.jobs_failed);
    set_by(m, "tlgate_jobs_ended_total", "state", "canceled", n.jobs_canceled);
    set(m, "tlgate_job_arm_requests_total", n.arm_requests);
    set(m, "tlgate_job_arm_retries_total", n.arm_retries);
    set(m, "tlgate_job_arm_throttled_total", n.arm_throttled);
    set(m, "tlgate_job_arm_in_flight", n.in_flight);
}

static void read_arm(struct metrics *m, struct arm *a)
{
    static const char *const classes[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    struct arm_stats n;
    arm_stats(a, &n);
    for (size_t i = 0; i < ARRAY_LEN(classes); i++)
        set_by(m, "tlgate_arm_replies_total", "status", classes[i], (int64_t)n.replies[i]);
    set(m, "tlgate_arm_held_total", (int64_t)n.held);
    set(m, "tlgate_arm_throttled_total", (int64_t)n.throttled);
    set_by(m, "tlgate_arm_tokens_total", "outcome", "ok", (int64_t)n.tokens);
    set_by(m, "tlgate_arm_tokens_total", "outcome", "failed", (int64_t)n.token_fails);
    set(m, "tlgate_arm_connections_total", (int64_t)n.connections);
    set(m, "tlgate_arm_in_flight", n.in_flight);
    set(m, "tlgate_arm_in_line", n.in_line);
}

static void read_trust(struct metrics *m, struct attest_trust *t)
{
    int64_t expires = attest_trust_expires(t);
    if (expires != INT64_MAX) /* none: no sample */
        set(m, "tlgate_attestation_trust_expires_seconds", expires / 1000);
}

static void read_all(struct metrics *m, void *ctx)
{
    const struct gauges *g = ctx;
    set_by(m, "tlgate_build_info", "version", TLGATE_VERSION, 1);
    set(m, "tlgate_http_connections", http_connections(g->http));
    set(m, "tlgate_http_requests_in_flight", http_in_flight(g->http));
    set(m, "tlgate_log_lines_lost_total", log_lost());
    read_store(m, g->store);
    read_jobs(m, g->jobs);
    read_arm(m, g->arm);
    read_trust(m, g->trust);
}

void gauges_register(const struct gauges *g, struct metrics *m)
{
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        metrics_declare(m, families[i].kind, families[i].name, families[i].help);
    metrics_on_write(m, read_all, (void *)(uintptr_t)g);
}
