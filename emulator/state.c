#include "emulator/state.h"

#include <errno.h>
#include <fcntl.h>

/* Below this the journal is never rewritten while it is open. */
#define COMPACT_MIN (16 << 20)

struct state {
    char path[4096];
    FILE *journal;
    size_t written;
    size_t alive; /* size of the journal when it was last compact */
    json_t *kinds[STATE_KINDS];
};

static size_t write_line(FILE *f, enum state_kind kind, const char *key, json_t *value)
{
    json_t *line = json_pack("[isO?]", (int)kind, key, value);
    char *text = json_dumps(line, JSON_COMPACT);
    json_decref(line);
    if (!text)
        abort();
    size_t n = strlen(text) + 1;
    fprintf(f, "%s\n", text);
    free(text);
    return n;
}

static void apply_line(struct state *s, const json_t *line)
{
    json_int_t kind = json_integer_value(json_array_get(line, 0));
    const char *key = json_string_value(json_array_get(line, 1));
    json_t *value = json_array_get(line, 2);
    if (kind < 0 || kind >= STATE_KINDS || !key)
        return;
    if (json_is_object(value) || json_is_array(value))
        json_object_set(s->kinds[kind], key, value);
    else
        json_object_del(s->kinds[kind], key);
}

static void load(struct state *s)
{
    AUTO(file) FILE *f = fopen(s->path, "r");
    if (!f)
        return;
    AUTO(free) char *text = NULL;
    size_t cap = 0;
    ssize_t n;
    while ((n = getline(&text, &cap, f)) > 0) {
        AUTO(json) json_t *line = json_loadb(text, (size_t)n, 0, NULL);
        if (line)
            apply_line(s, line);
    }
}

/* Writes what is alive beside the journal and puts it in its place. */
static enum err compact(struct state *s, struct err_info *e)
{
    char fresh[sizeof s->path + 8];
    snprintf(fresh, sizeof fresh, "%s.new", s->path);
    /* It holds the directory's secrets. */
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!f)
        return err_set(e, ERR_CONFIG, "cannot write %s: %s", fresh, strerror(errno));
    size_t size = 0;
    for (int kind = 0; kind < STATE_KINDS; kind++) {
        const char *key;
        json_t *value;
        json_object_foreach(s->kinds[kind], key, value) size +=
            write_line(f, (enum state_kind)kind, key, value);
    }
    if (fflush(f) != 0 || rename(fresh, s->path) != 0) {
        fclose(f);
        return err_set(e, ERR_CONFIG, "cannot write %s: %s", s->path, strerror(errno));
    }
    if (s->journal)
        fclose(s->journal);
    s->journal = f;
    s->written = s->alive = size;
    return OK;
}

enum err state_open(const char *dir, struct state **out, struct err_info *e)
{
    struct state *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    snprintf(s->path, sizeof s->path, "%s/state.journal", dir);
    for (int kind = 0; kind < STATE_KINDS; kind++)
        s->kinds[kind] = json_object();
    load(s);
    enum err err = compact(s, e);
    if (err) {
        state_close(s);
        return err;
    }
    *out = s;
    return OK;
}

void state_close(struct state *s)
{
    if (!s)
        return;
    if (s->journal)
        fclose(s->journal);
    for (int kind = 0; kind < STATE_KINDS; kind++)
        json_decref(s->kinds[kind]);
    free(s);
}

json_t *state_get(struct state *s, enum state_kind kind, const char *key)
{
    return json_object_get(s->kinds[kind], key);
}

static void append(struct state *s, enum state_kind kind, const char *key, json_t *value)
{
    s->written += write_line(s->journal, kind, key, value);
    /* The emulator's promise is its state: without the line it must not answer. */
    if (fflush(s->journal) != 0)
        abort();
    if (s->written > COMPACT_MIN && s->written > 4 * s->alive && compact(s, NULL) != OK)
        abort();
}

void state_put(struct state *s, enum state_kind kind, const char *key, json_t *value)
{
    json_object_set_new(s->kinds[kind], key, value);
    append(s, kind, key, value);
}

void state_save(struct state *s, enum state_kind kind, const char *key)
{
    append(s, kind, key, state_get(s, kind, key));
}

void state_del(struct state *s, enum state_kind kind, const char *key)
{
    if (!state_get(s, kind, key))
        return;
    json_object_del(s->kinds[kind], key);
    append(s, kind, key, NULL);
}

json_t *state_all(struct state *s, enum state_kind kind)
{
    return s->kinds[kind];
}
