#include "core/config.h"
#include "core/clock.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#define FILE_MAX        (1024 * 1024)
#define SECRET_FILE_MAX 65536
#define GROUP_ITEMS_MAX 64
#define LIST_ITEMS_MAX  64

/* A set of options with one base: the settings themselves, or one item of a group. */
struct scope {
    const struct config_option *options;
    size_t n;
    const char *name; /* of the group's item, or NULL */
    char *base;
    bool *seen; /* set by the source that is being read */
};

struct loader {
    const struct config_table *table;
    struct arena *arena;
    struct err_info *err;
    bool bad;
    struct scope scopes[1 + GROUP_ITEMS_MAX];
    size_t n_scopes;
};

#define COMPLAIN(l, where, ...)                                                                    \
    do {                                                                                           \
        (l)->bad = true;                                                                           \
        err_add_field((l)->err, where, __VA_ARGS__);                                               \
    } while (0)

/* "section.key", "section:name.key" or "key". */
static char *spell(struct loader *l, const struct config_option *o, const char *name)
{
    if (!o->section)
        return arena_strdup(l->arena, o->key);
    return arena_printf(l->arena, "%s%s%s.%s", o->section, name ? ":" : "", name ? name : "",
                        o->key);
}

static void add_upper(char **at, const char *s)
{
    for (; *s; s++)
        *(*at)++ = isalnum((unsigned char)*s) ? (char)toupper((unsigned char)*s) : '_';
}

char *config_env_name(const struct config_table *table, const struct config_option *o,
                      const char *name, struct arena *arena)
{
    const char *parts[] = {table->prefix, o->section, name, o->key};
    size_t size = 1;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        size += parts[i] ? strlen(parts[i]) + 1 : 0;
    char *out = arena_alloc(arena, size), *at = out;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (!parts[i])
            continue;
        if (at != out)
            *at++ = '_';
        add_upper(&at, parts[i]);
    }
    return out;
}

/* ---- values ---- */

static bool parse_number(const char *text, int64_t *out, const char **rest)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (end == text || errno || isspace((unsigned char)*text))
        return false;
    *out = v;
    *rest = end;
    return true;
}

struct unit {
    const char *name;
    int64_t factor;
};

static bool parse_scaled(const char *text, const struct unit *units, size_t n, int64_t *out)
{
    const char *rest;
    int64_t v;
    if (!parse_number(text, &v, &rest))
        return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(rest, units[i].name) == 0)
            return !__builtin_mul_overflow(v, units[i].factor, out);
    return false;
}

static bool parse_duration(const char *text, int64_t *ms)
{
    static const struct unit units[] = {{"", 1000},   {"ms", 1},      {"s", 1000},
                                        {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    return parse_scaled(text, units, ARRAY_LEN(units), ms) || duration_parse(text, ms);
}

static bool parse_size(const char *text, int64_t *bytes)
{
    static const struct unit units[] = {{"", 1}, {"K", 1024}, {"M", 1 << 20}, {"G", 1 << 30}};
    return parse_scaled(text, units, ARRAY_LEN(units), bytes);
}

static void set_number(struct loader *l, const struct scope *s, const struct config_option *o,
                       const char *text)
{
    const char *rest = "", *kind = o->kind == OPTION_INT ? "an integer" : "a size such as 64K";
    int64_t v = 0;
    bool ok;
    if (o->kind == OPTION_DURATION) {
        kind = "a duration such as 10s";
        ok = parse_duration(text, &v);
    } else if (o->kind == OPTION_SIZE) {
        ok = parse_size(text, &v);
    } else {
        ok = parse_number(text, &v, &rest) && !*rest;
    }
    if (!ok)
        COMPLAIN(l, spell(l, o, s->name), "must be %s", kind);
    else if (v < o->min || v > o->max)
        COMPLAIN(l, spell(l, o, s->name), "must be between %" PRId64 " and %" PRId64 "%s", o->min,
                 o->max, o->kind == OPTION_DURATION ? " ms" : "");
    else
        *(int64_t *)(void *)(s->base + o->offset) = v;
}

static bool allowed(const struct config_option *o, const char *text)
{
    if (!o->allowed)
        return true;
    for (const char *const *p = o->allowed; *p; p++)
        if (strcmp(*p, text) == 0)
            return true;
    return false;
}

/* Length, control bytes and enum of a text option. */
static bool check_text(struct loader *l, const struct scope *s, const struct config_option *o,
                       const char *text)
{
    int64_t n = (int64_t)strlen(text);
    if (n < o->min || (o->max && n > o->max)) {
        COMPLAIN(l, spell(l, o, s->name), "must have %" PRId64 " to %" PRId64 " characters", o->min,
                 o->max);
        return false;
    }
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            COMPLAIN(l, spell(l, o, s->name), "must not hold control characters");
            return false;
        }
    if (allowed(o, text))
        return true;
    struct buf list = {0};
    for (const char *const *p = o->allowed; *p; p++)
        buf_printf(&list, "%s%s", p == o->allowed ? "" : ", ", *p);
    COMPLAIN(l, spell(l, o, s->name), "must be one of %s", list.data);
    buf_free(&list);
    return false;
}

static void add_item(struct loader *l, const struct scope *s, const struct config_option *o,
                     const char *text)
{
    struct str_list *list = (void *)(s->base + o->offset);
    if (!list->items)
        list->items = arena_array(l->arena, LIST_ITEMS_MAX, sizeof *list->items);
    if (list->n == LIST_ITEMS_MAX)
        COMPLAIN(l, spell(l, o, s->name), "has more than %d items", LIST_ITEMS_MAX);
    else if (check_text(l, s, o, text))
        list->items[list->n++] = arena_strdup(l->arena, text);
}

static void set_value(struct loader *l, const struct scope *s, const struct config_option *o,
                      const char *text)
{
    void *slot = s->base + o->offset;
    switch (o->kind) {
    case OPTION_STR:
        if (check_text(l, s, o, text))
            *(const char **)slot = arena_strdup(l->arena, text);
        return;
    case OPTION_SECRET:
        if (check_text(l, s, o, text))
            *(struct secret *)slot = secret_in(l->arena, text, strlen(text));
        return;
    case OPTION_BOOL:
        if (strcmp(text, "true") && strcmp(text, "false"))
            COMPLAIN(l, spell(l, o, s->name), "must be true or false");
        *(bool *)slot = strcmp(text, "true") == 0;
        return;
    case OPTION_INT:
    case OPTION_DURATION:
    case OPTION_SIZE:
        set_number(l, s, o, text);
        return;
    case OPTION_LIST:
        add_item(l, s, o, text);
        return;
    }
}

static void clear_list(const struct scope *s, const struct config_option *o)
{
    if (o->kind == OPTION_LIST)
        *(struct str_list *)(void *)(s->base + o->offset) = (struct str_list){0};
}

/* Whole small file as text; false with errno. */
static bool slurp(struct loader *l, const char *path, size_t max, struct bytes *out)
{
    AUTO(fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    struct buf text = {0};
    ssize_t n;
    do {
        n = read(fd, buf_reserve(&text, 4096), 4096);
        if (n > 0)
            text.len += (size_t)n;
        if (text.len > max) {
            errno = EFBIG;
            n = -1;
        }
    } while (n > 0);
    *out = BYTES(arena_strndup(l->arena, text.len ? text.data : "", text.len), text.len);
    buf_free(&text);
    return n == 0;
}

/* A secret's file: its text without the line end that editors add. */
static void set_from_file(struct loader *l, const struct scope *s, const struct config_option *o,
                          const char *path)
{
    struct bytes text;
    if (!slurp(l, path, SECRET_FILE_MAX, &text)) {
        COMPLAIN(l, spell(l, o, s->name), "cannot read %s: %s", path, strerror(errno));
        return;
    }
    while (text.len && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == '\r'))
        text.len--;
    if (text.len && memchr(text.data, 0, text.len)) {
        COMPLAIN(l, spell(l, o, s->name), "the file %s holds a NUL byte", path);
        return;
    }
    set_value(l, s, o, arena_strndup(l->arena, (const char *)text.data, text.len));
}

/* ---- scopes ---- */

static void open_scope(struct loader *l, const struct config_option *options, size_t n,
                       const char *name, void *base)
{
    struct scope *s = &l->scopes[l->n_scopes++];
    *s = (struct scope){.options = options, .n = n, .name = name, .base = base};
    s->seen = arena_array(l->arena, n, sizeof *s->seen);
    for (size_t i = 0; i < n; i++)
        if (options[i].dflt)
            set_value(l, s, &options[i], options[i].dflt);
}

/* [section:name]: a new item of the group. NULL where that is not possible. */
static struct scope *open_group(struct loader *l, const char *section, const char *name)
{
    const struct config_group *g = NULL;
    for (size_t i = 0; i < l->table->n_groups; i++)
        if (strcmp(l->table->groups[i].section, section) == 0)
            g = &l->table->groups[i];
    if (!g || !*name || name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-")] ||
        l->n_scopes == ARRAY_LEN(l->scopes))
        return NULL;
    struct obj_list *list = (void *)(l->scopes[0].base + g->offset);
    if (!list->items)
        list->items = arena_array(l->arena, GROUP_ITEMS_MAX, g->item_size);
    char *item = (char *)list->items + list->n++ * g->item_size;
    *(const char **)(void *)(item + g->name_offset) = arena_strdup(l->arena, name);
    open_scope(l, g->options, g->n_options, arena_strdup(l->arena, name), item);
    return &l->scopes[l->n_scopes - 1];
}

static bool has_section(const struct loader *l, const char *section)
{
    for (size_t i = 0; i < l->table->n_options; i++) {
        const char *s = l->table->options[i].section;
        if (s && strcmp(s, section) == 0)
            return true;
    }
    return false;
}

/* ---- the INI file ---- */

struct ini {
    struct scope *scope;
    char *section; /* NULL before the first one */
    bool skip;     /* an unknown section was named already */
    int line;
};

static char *trim(char *s)
{
    while (*s == ' ' || *s == '\t')
        s++;
    size_t n = strlen(s);
    while (n && (s[n - 1] == ' ' || s[n - 1] == '\t' || s[n - 1] == '\r'))
        s[--n] = 0;
    return s;
}

static void open_section(struct loader *l, struct ini *ini, char *text)
{
    ini->section = text;
    char *name = strchr(text, ':');
    if (name)
        *name++ = 0;
    ini->scope = &l->scopes[0];
    ini->skip = name ? false : !has_section(l, text);
    for (size_t i = 1; name && i < l->n_scopes; i++)
        if (strcmp(l->scopes[i].name, name) == 0)
            ini->skip = true; /* twice the same name */
    if (name && !ini->skip) {
        ini->scope = open_group(l, text, name);
        ini->skip = !ini->scope;
    }
    if (ini->skip)
        COMPLAIN(l, text, "line %d: [%s%s%s] is not a known section or repeats one", ini->line,
                 text, name ? ":" : "", name ? name : "");
}

static bool of_section(const struct config_option *o, const char *section)
{
    return section ? o->section && strcmp(o->section, section) == 0 : !o->section;
}

/* The option that `key` names in the current section; *file where it names the secret's file. */
static const struct config_option *find_option(const struct ini *ini, const char *key, bool *file)
{
    for (size_t i = 0; i < ini->scope->n; i++) {
        const struct config_option *o = &ini->scope->options[i];
        size_t n = strlen(o->key);
        if (!of_section(o, ini->section) || strncmp(o->key, key, n))
            continue;
        *file = o->kind == OPTION_SECRET && strcmp(key + n, "_file") == 0;
        if (!key[n] || *file)
            return o;
    }
    return NULL;
}

static void read_pair(struct loader *l, struct ini *ini, char *line)
{
    char *eq = strchr(line, '=');
    if (!eq) {
        COMPLAIN(l, "file", "line %d: expected key = value", ini->line);
        return;
    }
    *eq = 0;
    char *key = trim(line), *value = trim(eq + 1);
    bool file;
    const struct config_option *o = find_option(ini, key, &file);
    if (!o) {
        COMPLAIN(l, key, "line %d: is not a known option%s%s", ini->line,
                 ini->section ? " of " : "", ini->section ? ini->section : "");
        return;
    }
    bool *seen = &ini->scope->seen[o - ini->scope->options];
    if (*seen && o->kind != OPTION_LIST) {
        COMPLAIN(l, spell(l, o, ini->scope->name), "line %d: is set twice", ini->line);
        return;
    }
    if (!*seen)
        clear_list(ini->scope, o);
    *seen = true;
    if (file)
        set_from_file(l, ini->scope, o, value);
    else
        set_value(l, ini->scope, o, value);
}

static void read_line(struct loader *l, struct ini *ini, char *line)
{
    line = trim(line);
    size_t n = strlen(line);
    if (n == 0 || *line == '#' || *line == ';')
        return;
    if (*line == '[' && line[n - 1] == ']') {
        line[n - 1] = 0;
        open_section(l, ini, line + 1);
    } else if (!ini->skip) {
        read_pair(l, ini, line);
    }
}

static void read_ini(struct loader *l, const char *path)
{
    struct bytes text;
    if (!slurp(l, path, FILE_MAX, &text)) {
        COMPLAIN(l, "file", "cannot read %s: %s", path, strerror(errno));
        return;
    }
    if (text.len && memchr(text.data, 0, text.len)) {
        COMPLAIN(l, "file", "%s holds a NUL byte", path);
        return;
    }
    struct ini ini = {.scope = &l->scopes[0]};
    char *rest = arena_strndup(l->arena, (const char *)text.data, text.len);
    while (rest) {
        ini.line++;
        read_line(l, &ini, strsep(&rest, "\n"));
    }
}

/* ---- the environment ---- */

/* Does `var` ("NAME=value") set this option? An empty value is no value. */
static bool from_env(struct loader *l, struct scope *s, size_t i, const char *var)
{
    const struct config_option *o = &s->options[i];
    const char *name = config_env_name(l->table, o, s->name, l->arena);
    size_t n = strlen(name);
    if (strncmp(var, name, n))
        return false;
    bool file = o->kind == OPTION_SECRET && strncmp(var + n, "_FILE=", 6) == 0;
    if (var[n] != '=' && !file)
        return false;
    const char *value = strchr(var, '=') + 1;
    if (!*value)
        return true;
    if (s->seen[i]) {
        COMPLAIN(l, name, "is set beside %s_FILE", name);
        return true;
    }
    s->seen[i] = true;
    clear_list(s, o);
    if (file) {
        set_from_file(l, s, o, value);
    } else if (o->kind == OPTION_LIST) {
        char *rest = arena_strdup(l->arena, value);
        while (rest)
            set_value(l, s, o, trim(strsep(&rest, ",")));
    } else {
        set_value(l, s, o, value);
    }
    return true;
}

/* A variable of a section that exists, yet no option: a typing error that must not pass. */
static bool of_known_section(struct loader *l, const char *var)
{
    for (size_t i = 0; i < l->table->n_options; i++) {
        struct config_option probe = {.section = l->table->options[i].section, .key = ""};
        if (!probe.section)
            continue;
        const char *start = config_env_name(l->table, &probe, NULL, l->arena);
        if (strncmp(var, start, strlen(start)) == 0)
            return true;
    }
    return false;
}

static void read_var(struct loader *l, const char *var)
{
    for (size_t s = 0; s < l->n_scopes; s++)
        for (size_t i = 0; i < l->scopes[s].n; i++)
            if (from_env(l, &l->scopes[s], i, var))
                return;
    if (of_known_section(l, var))
        COMPLAIN(l, arena_strndup(l->arena, var, strcspn(var, "=")), "is not a known option");
}

static void read_env(struct loader *l, char *const *env)
{
    for (size_t s = 0; s < l->n_scopes; s++)
        memset(l->scopes[s].seen, 0, l->scopes[s].n * sizeof *l->scopes[s].seen);
    size_t n = strlen(l->table->prefix);
    for (; env && *env; env++)
        if (strncmp(*env, l->table->prefix, n) == 0 && (*env)[n] == '_')
            read_var(l, *env);
}

enum err config_load(const struct config_table *table, const char *path, char *const *env,
                     struct arena *arena, void *out, struct err_info *e)
{
    struct err_info why;
    err_set(&why, ERR_CONFIG, "the configuration has invalid options");
    struct loader *l = ARENA_NEW(arena, struct loader);
    *l = (struct loader){.table = table, .arena = arena, .err = &why};
    memset(out, 0, table->size);
    open_scope(l, table->options, table->n_options, NULL, out);
    if (path)
        read_ini(l, path);
    read_env(l, env);
    if (!l->bad)
        return OK;
    if (e)
        *e = why;
    return ERR_CONFIG;
}
