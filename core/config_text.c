/* What the option table says about itself: the effective settings, --help, the documentation. */
#include "core/config.h"

#include <inttypes.h>

static const char *section_of(const struct config_option *o)
{
    return o->section ? o->section : "";
}

/* The largest unit that leaves no rest. */
static void add_scaled(struct buf *out, int64_t v, const char *const *names, const int64_t *factors,
                       size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (v && v % factors[i] == 0) {
            buf_printf(out, "%" PRId64 "%s", v / factors[i], names[i]);
            return;
        }
    buf_printf(out, "%" PRId64 "%s", v, names[n - 1]);
}

static void add_number(struct buf *out, const struct config_option *o, int64_t v)
{
    static const char *const time_names[] = {"d", "h", "m", "s", "ms"};
    static const int64_t times[] = {86400000, 3600000, 60000, 1000, 1};
    static const char *const size_names[] = {"G", "M", "K", ""};
    static const int64_t sizes[] = {1 << 30, 1 << 20, 1024, 1};
    if (o->kind == OPTION_DURATION)
        add_scaled(out, v, time_names, times, ARRAY_LEN(times));
    else if (o->kind == OPTION_SIZE)
        add_scaled(out, v, size_names, sizes, ARRAY_LEN(sizes));
    else
        buf_printf(out, "%" PRId64, v);
}

static void dump_option(const struct config_option *o, const char *base, struct buf *out)
{
    const void *slot = base + o->offset;
    const char *text = o->kind == OPTION_STR ? *(const char *const *)slot : NULL;
    const struct str_list *list = o->kind == OPTION_LIST ? slot : NULL;
    switch (o->kind) {
    case OPTION_STR:
        if (text)
            buf_printf(out, "%s = %s\n", o->key, text);
        return;
    case OPTION_SECRET:
        if (((const struct secret *)slot)->text)
            buf_printf(out, "%s = ***\n", o->key);
        return;
    case OPTION_BOOL:
        buf_printf(out, "%s = %s\n", o->key, *(const bool *)slot ? "true" : "false");
        return;
    case OPTION_LIST:
        for (size_t i = 0; i < list->n; i++)
            buf_printf(out, "%s = %s\n", o->key, list->items[i]);
        return;
    case OPTION_INT:
    case OPTION_DURATION:
    case OPTION_SIZE:
        buf_printf(out, "%s = ", o->key);
        add_number(out, o, *(const int64_t *)slot);
        buf_add_char(out, '\n');
        return;
    }
}

void config_dump(const struct config_table *table, const void *settings, struct buf *out)
{
    const char *section = "";
    for (size_t i = 0; i < table->n_options; i++) {
        const struct config_option *o = &table->options[i];
        if (strcmp(section, section_of(o)))
            buf_printf(out, "\n[%s]\n", o->section);
        section = section_of(o);
        dump_option(o, settings, out);
    }
    for (size_t g = 0; g < table->n_groups; g++) {
        const struct config_group *group = &table->groups[g];
        const struct obj_list *list = (const void *)((const char *)settings + group->offset);
        for (size_t k = 0; k < list->n; k++) {
            const char *item = (const char *)list->items + k * group->item_size;
            buf_printf(out, "\n[%s:%s]\n", group->section,
                       *(const char *const *)(const void *)(item + group->name_offset));
            for (size_t i = 0; i < group->n_options; i++)
                dump_option(&group->options[i], item, out);
        }
    }
}

/* "true or false", "1s to 1h", "one of a, b". */
static void add_bounds(struct buf *out, const struct config_option *o)
{
    switch (o->kind) {
    case OPTION_BOOL:
        buf_add_str(out, "true or false");
        return;
    case OPTION_INT:
    case OPTION_DURATION:
    case OPTION_SIZE:
        add_number(out, o, o->min);
        buf_add_str(out, " to ");
        add_number(out, o, o->max);
        return;
    case OPTION_SECRET:
        buf_add_str(out, "secret");
        return;
    case OPTION_LIST:
        buf_add_str(out, "list");
        return;
    case OPTION_STR:
        for (const char *const *p = o->allowed; p && *p; p++)
            buf_printf(out, "%s%s", p == o->allowed ? "one of " : ", ", *p);
        if (!o->allowed)
            buf_add_str(out, "text");
        return;
    }
}

static void help_option(const struct config_table *t, const struct config_option *o,
                        const char *name, struct arena *a, struct buf *out)
{
    buf_printf(out, "  %s%s%s%s%s  (%s%s)\n", section_of(o), name ? ":" : "", name ? name : "",
               o->section ? "." : "", o->key, config_env_name(t, o, name, a),
               o->kind == OPTION_SECRET ? "[_FILE]" : "");
    buf_printf(out, "      %s\n      ", o->help);
    add_bounds(out, o);
    buf_printf(out, "%s%s\n", o->dflt ? "; default " : "", o->dflt ? o->dflt : "");
}

void config_help(const struct config_table *table, struct buf *out)
{
    struct arena *a = arena_new();
    for (size_t i = 0; i < table->n_options; i++)
        help_option(table, &table->options[i], NULL, a, out);
    for (size_t g = 0; g < table->n_groups; g++)
        for (size_t i = 0; i < table->groups[g].n_options; i++)
            help_option(table, &table->groups[g].options[i], "NAME", a, out);
    arena_free(a);
}

static void markdown_row(const struct config_table *t, const struct config_option *o,
                         const char *name, struct arena *a, struct buf *out)
{
    buf_printf(out, "| `%s` | `%s`%s | ", o->key, config_env_name(t, o, name, a),
               o->kind == OPTION_SECRET ? ", `..._FILE`" : "");
    add_bounds(out, o);
    buf_printf(out, " | %s%s%s | %s |\n", o->dflt ? "`" : "", o->dflt ? o->dflt : "",
               o->dflt ? "`" : "", o->help);
}

static void markdown_head(struct buf *out, const char *section, const char *name)
{
    if (*section)
        buf_printf(out, "\n## `[%s%s]`\n", section, name);
    else
        buf_add_str(out, "\n## Before the first section\n");
    buf_add_str(out, "\n| key | variable | value | default | meaning |\n|---|---|---|---|---|\n");
}

void config_markdown(const struct config_table *table, struct buf *out)
{
    struct arena *a = arena_new();
    const char *section = NULL;
    for (size_t i = 0; i < table->n_options; i++) {
        const struct config_option *o = &table->options[i];
        if (!section || strcmp(section, section_of(o)))
            markdown_head(out, section_of(o), "");
        section = section_of(o);
        markdown_row(table, o, NULL, a, out);
    }
    for (size_t g = 0; g < table->n_groups; g++) {
        const struct config_group *group = &table->groups[g];
        markdown_head(out, group->section, ":NAME");
        for (size_t i = 0; i < group->n_options; i++)
            markdown_row(table, &group->options[i], "NAME", a, out);
    }
    arena_free(a);
}
