/* azure-emulator: see emulator/emulator.h. */
#include "core/log.h"
#include "emulator/emulator.h"

#include <getopt.h>
#include <signal.h>

#define SUBSCRIPTIONS_MAX 512

static const char usage[] =
    "usage: azure-emulator --listen 127.0.0.1:PORT --imds-listen 127.0.0.1:PORT --state-dir DIR\n"
    "                      [--subscription GUID]... [--time-scale F]\n"
    "\n"
    "Azure Resource Manager, Entra ID and IMDS on loopback. Port 0 takes a free one; the first "
    "two\n"
    "lines on stdout are the URLs of ARM and IMDS, and endpoints.json in DIR holds them too.\n"
    "--time-scale multiplies every wait (0.1: ten times as fast) and is remembered.\n";

static bool read_subscription(struct emulator_options *o, const char **list, const char *text)
{
    if (!uuid_valid(text) || o->n_subscriptions == SUBSCRIPTIONS_MAX)
        return false;
    list[o->n_subscriptions++] = text;
    return true;
}

static bool read_scale(struct emulator_options *o, const char *text)
{
    char *end;
    o->time_scale = strtod(text, &end);
    return !*end && end != text && o->time_scale > 0 && o->time_scale <= 1000;
}

static bool read_options(int argc, char **argv, struct emulator_options *o, const char **list)
{
    static const struct option known[] = {
        {"listen", required_argument, NULL, 'l'},
        {"imds-listen", required_argument, NULL, 'i'},
        {"state-dir", required_argument, NULL, 'd'},
        {"subscription", required_argument, NULL, 's'},
        {"time-scale", required_argument, NULL, 't'},
        {NULL, 0, NULL, 0},
    };
    bool good = true;
    int c;
    while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (c == 'l')
            o->listen = optarg;
        else if (c == 'i')
            o->imds_listen = optarg;
        else if (c == 'd')
            o->state_dir = optarg;
        else if (c == 's')
            good = read_subscription(o, list, optarg) && good;
        else if (c == 't')
            good = read_scale(o, optarg) && good;
        else
            good = false;
    }
    return good && optind == argc && o->listen && o->imds_listen && o->state_dir;
}

int main(int argc, char **argv)
{
    const char *subscriptions[SUBSCRIPTIONS_MAX];
    struct emulator_options options = {.subscriptions = subscriptions};
    if (!read_options(argc, argv, &options, subscriptions)) {
        fputs(usage, stderr);
        return 2;
    }
    /* Blocked before the first thread is made, so that only sigwait below sees them. */
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stop, NULL);
    signal(SIGPIPE, SIG_IGN);
    struct emulator *em = NULL;
    struct err_info e = {0};
    if (emulator_start(&options, &em, &e)) {
        log_error("cannot start", LOG_S("detail", e.detail));
        return 1;
    }
    printf("%s\n%s\n", emulator_arm_url(em), emulator_imds_url(em));
    fflush(stdout);
    int got;
    sigwait(&stop, &got);
    emulator_stop(em);
    return 0;
}
