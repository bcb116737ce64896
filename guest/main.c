/* tlgate-agent: proves to the gateway what this VM booted. */
#include "core/clock.h"
#include "core/log.h"
#include "core/secret.h"
#include "guest/agent.h"

#include <getopt.h>
#include <signal.h>

#define INTERVAL_DEFAULT_MS (15 * 60 * 1000)
#define INTERVAL_LEAST_MS   1000
#define INTERVAL_MOST_MS    (24 * 60 * 60 * 1000)

static const char usage[] =
    "usage: tlgate-agent [--gateway URL] [--ca FILE] [--vm-id GUID] [--imds URL] [--tcti CONF]\n"
    "                    [--event-log FILE] [--enrollment-token FILE] [--attested-document]\n"
    "                    [--maa-command PROGRAM] [--interval DURATION] [--once]\n"
    "\n"
    "  --gateway URL            https URL of the gateway (default: from the VM's userData)\n"
    "  --ca FILE                PEM file of the CAs that the gateway's certificate chains to\n"
    "                           (default: the system's)\n"
    "  --vm-id GUID             this VM's vmId (default: from IMDS)\n"
    "  --imds URL               metadata service (default: http://169.254.169.254)\n"
    "  --tcti CONF              the TPM, as tpm2-tss takes it (default: device:/dev/tpmrm0)\n"
    "  --event-log FILE         firmware's event log (default: from securityfs)\n"
    "  --enrollment-token FILE  token for the first report (default: from the VM's userData)\n"
    "  --maa-command PROGRAM    prints a token of Azure Attestation over the nonce that is its\n"
    "                           argument (default: no token is sent)\n"
    "  --attested-document      enrol with IMDS' attested document, not with a token (default: "
    "where\n"
    "                           there is no token or it is refused)\n"
    "  --interval DURATION      time between reports, ISO 8601 (default: PT15M)\n"
    "  --once                   report once, print the gateway's answer; exit 0 if trusted, 1 if\n"
    "                           not, 2 if there was no report\n"
    "  --version, --help\n";

static sigset_t end_signals;
static bool ending;

static bool stop(void)
{
    sigset_t pending;
    if (!ending && sigpending(&pending) == 0)
        ending = sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1;
    return ending;
}

static void sleep_ms(int64_t ms)
{
    const struct timespec wait = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    if (sigtimedwait(&end_signals, NULL, &wait) > 0)
        ending = true;
}

/* Signals stay blocked and are asked for: no handler, no race. */
static void block_signals(void)
{
    sigemptyset(&end_signals);
    sigaddset(&end_signals, SIGTERM);
    sigaddset(&end_signals, SIGINT);
    sigprocmask(SIG_BLOCK, &end_signals, NULL);
    signal(SIGPIPE, SIG_IGN);
}

enum { OPT_GATEWAY = 256, OPT_CA, OPT_VM_ID, OPT_IMDS, OPT_TCTI, OPT_LOG, OPT_TOKEN, OPT_MAA };
enum { OPT_INTERVAL = 384 };
enum { OPT_ONCE = 512, OPT_DOCUMENT, OPT_VERSION, OPT_HELP };

static const struct option options[] = {
    {"gateway", required_argument, NULL, OPT_GATEWAY},
    {"ca", required_argument, NULL, OPT_CA},
    {"vm-id", required_argument, NULL, OPT_VM_ID},
    {"imds", required_argument, NULL, OPT_IMDS},
    {"tcti", required_argument, NULL, OPT_TCTI},
    {"event-log", required_argument, NULL, OPT_LOG},
    {"enrollment-token", required_argument, NULL, OPT_TOKEN},
    {"maa-command", required_argument, NULL, OPT_MAA},
    {"attested-document", no_argument, NULL, OPT_DOCUMENT},
    {"interval", required_argument, NULL, OPT_INTERVAL},
    {"once", no_argument, NULL, OPT_ONCE},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

enum command { RUN_LOOP, RUN_ONCE, SHOW_VERSION, SHOW_HELP, BAD_USAGE };

static enum command parse_interval(const char *text, struct guest_options *o, enum command command)
{
    if (duration_parse(text, &o->interval_ms) && o->interval_ms >= INTERVAL_LEAST_MS &&
        o->interval_ms <= INTERVAL_MOST_MS)
        return command;
    fprintf(stderr, "tlgate-agent: --interval is a duration from PT1S to PT24H\n");
    return BAD_USAGE;
}

static enum command parse(int argc, char **argv, struct guest_options *o)
{
    enum command command = RUN_LOOP;
    const char **text[] = {&o->gateway, &o->ca_file,   &o->vm_id,      &o->imds,
                           &o->tcti,    &o->event_log, &o->token_file, &o->maa_command};
    for (int c; command != BAD_USAGE && (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c >= OPT_GATEWAY && c <= OPT_MAA)
            *text[c - OPT_GATEWAY] = optarg;
        else if (c == OPT_INTERVAL)
            command = parse_interval(optarg, o, command);
        else if (c == OPT_DOCUMENT)
            o->attested_document = true;
        else if (c == OPT_ONCE)
            command = RUN_ONCE;
        else if (c == OPT_VERSION)
            return SHOW_VERSION;
        else if (c == OPT_HELP)
            return SHOW_HELP;
        else
            command = BAD_USAGE;
    }
    return optind < argc ? BAD_USAGE : command;
}

static int run(const struct guest_options *o, bool once)
{
    static const struct guest_process process = {.stop = stop, .sleep_ms = sleep_ms};
    struct guest_agent *agent = NULL;
    struct err_info e = {0};
    if (guest_agent_new(o, &process, &agent, &e) != OK) {
        log_error("cannot start", LOG_S("detail", e.detail));
        return GUEST_FAILED;
    }
    int status = 0;
    if (once) {
        struct buf answer = {0};
        status = (int)guest_agent_once(agent, &answer);
        if (answer.len)
            printf("%s\n", answer.data);
        if (fflush(stdout) != 0)
            status = GUEST_FAILED;
        buf_free(&answer);
    } else {
        guest_agent_loop(agent);
    }
    guest_agent_free(agent);
    return status;
}

int main(int argc, char **argv)
{
    struct guest_options o = {.interval_ms = INTERVAL_DEFAULT_MS};
    enum command command = parse(argc, argv, &o);
    switch (command) {
    case SHOW_VERSION:
        puts("tlgate-agent " TLGATE_VERSION);
        return 0;
    case SHOW_HELP:
        fputs(usage, stdout);
        return 0;
    case BAD_USAGE:
        fputs(usage, stderr);
        return GUEST_FAILED;
    case RUN_LOOP:
    case RUN_ONCE:
        break;
    }
    setenv("TSS2_LOG", "all+NONE", 0); /* its lines are no JSON; errors come back as codes */
    secret_wipe_json();
    if (!secret_protect_process())
        log_warn("core dumps cannot be turned off");
    block_signals();
    return run(&o, command == RUN_ONCE);
}
