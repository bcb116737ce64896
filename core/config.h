/*
 * Configuration: one table row per option, over a settings struct.
 *
 * An option comes from its default, from an INI file, or from the environment (the later wins):
 *
 *     [server]                          TLGATE_SERVER_LISTEN=127.0.0.1:8443
 *     listen = 127.0.0.1:8443           TLGATE_DATA_DIR=/var/lib/tlgate
 *
 * A secret may also be read from a file: `client_secret_file` in the INI file or
 * TLGATE_ARM_CLIENT_SECRET_FILE. A group is a section that may repeat with a name, `[arm:prod]`;
 * its options are TLGATE_ARM_PROD_CLIENT_ID and so on, for names that stand in the file. Unknown
 * sections, keys and variables of a known section are errors; every problem is named at once.
 *
 * The INI subset: `key = value` to the end of the line without the blanks around it; whole-line
 * comments start with # or ;. A list repeats its key; in the environment it is comma-separated.
 *
 * Everything that is read lives in the arena. No global state: any thread.
 */
#ifndef CORE_CONFIG_H
#define CORE_CONFIG_H

#include "core/arena.h"
#include "core/buf.h"
#include "core/err.h"
#include "core/json.h"

enum option_kind {
    OPTION_STR,      /* const char *; min and max are its length */
    OPTION_SECRET,   /* struct secret; never printed */
    OPTION_BOOL,     /* bool: true or false */
    OPTION_INT,      /* int64_t */
    OPTION_DURATION, /* int64_t ms: "500ms", "10s", "5m", "24h", "30d", ISO 8601, or bare seconds */
    OPTION_SIZE,     /* int64_t bytes: "4096", "256K", "1M", "2G" */
    OPTION_LIST,     /* struct str_list */
};

struct config_option {
    const char *section; /* NULL: before the first section */
    const char *key;
    enum option_kind kind;
    size_t offset;    /* into the settings struct, or into the group's item */
    const char *dflt; /* as it would stand in the file; NULL: absent (0, NULL or empty) */
    int64_t min;      /* bounds of the value, in ms and bytes where that is its unit */
    int64_t max;
    const char *const *allowed; /* NULL-terminated, for OPTION_STR */
    const char *help;
};

/* Named sections `[section:name]`. Each becomes an item of the obj_list at `offset`. */
struct config_group {
    const char *section;
    const struct config_option *options; /* offsets into the item */
    size_t n_options;
    size_t item_size;
    size_t name_offset; /* const char * of the item: the name */
    size_t offset;      /* struct obj_list of the settings struct */
};

struct config_table {
    const char *prefix; /* of environment variables: "TLGATE" */
    const struct config_option *options;
    size_t n_options;
    const struct config_group *groups;
    size_t n_groups;
    size_t size; /* of the settings struct */
};

/*
 * Fill `out` (table->size bytes). `path` may be NULL: no file. `env` is like environ(7).
 * ERR_CONFIG with one field per problem, its pointer being "section.key".
 */
enum err config_load(const struct config_table *table, const char *path, char *const *env,
                     struct arena *arena, void *out, struct err_info *e) MUST_CHECK;

/* The effective settings as an INI file; secrets that are set read as ***. */
void config_dump(const struct config_table *table, const void *settings, struct buf *out);

/* One paragraph per option: name, variable, default, bounds, help. The text of --help. */
void config_help(const struct config_table *table, struct buf *out);

/* The same as a Markdown table per section: docs/configuration.md holds exactly this. */
void config_markdown(const struct config_table *table, struct buf *out);

/* "TLGATE_SERVER_LISTEN"; `name` is the group's name or NULL. In the arena. */
char *config_env_name(const struct config_table *table, const struct config_option *o,
                      const char *name, struct arena *arena);

#endif
