#include "core/secret.h"
#include "server/commands.h"

static command_fn help;

static const struct {
    const char *name;
    const char *arguments;
    const char *help;
    command_fn *run;
} commands[] = {
    {"serve", "[--config FILE]", "Run the gateway", cmd_serve},
    {"check-config", "[--config FILE]", "Check the configuration and print what is in effect",
     cmd_check_config},
    {"migrate", "[--config FILE]", "Bring the database to this version's schema", cmd_migrate},
    {"backup", "FILE [--config FILE]", "Write a consistent copy of the database", cmd_backup},
    {"key",
     "create --name N --role R --scope S | list | revoke ID | rotate --purpose P\n      [--config "
     "FILE]",
     "Manage API keys (create prints the key, once), and make a new key of the keyring", cmd_key},
    {"verify", "EVIDENCE.json --nonce HEX ...", "Verify evidence offline", cmd_verify},
    {"eventlog", "LOG [--pcrs FILE] [--bank BANK]", "Read and replay a measured-boot log",
     cmd_eventlog},
    {"trust", "list | fetch  [--trust-dir DIR | --config FILE] ...",
     "List the issuers of AK certificates, or fetch them from where they are published", cmd_trust},
    {"version", "", "Print the version", cmd_version},
    {"help", "[config]", "This text, or the options as docs/configuration.md", help},
};

static int help(int argc, char **argv)
{
    struct buf out = {0};
    if (argc == 1 && strcmp(argv[0], "config") == 0) {
        settings_document(&out);
    } else {
        buf_add_str(&out, "tlgate: Azure Trusted Launch, provisioned and proved\n\n");
        for (size_t i = 0; i < ARRAY_LEN(commands); i++)
            buf_printf(&out, "  tlgate %s %s\n      %s\n", commands[i].name, commands[i].arguments,
                       commands[i].help);
        buf_add_str(&out, "\nOptions of the INI file and the environment:\n\n");
        config_help(&settings_table, &out);
    }
    fputs(out.data, stdout);
    buf_free(&out);
    return 0;
}

int main(int argc, char **argv)
{
    secret_wipe_json();
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return commands[i].run(argc - 2, argv + 2);
    fprintf(stderr, "tlgate: %s%s\n", *name ? "no such command: " : "a command is needed", name);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(stderr, "  tlgate %s %s\n", commands[i].name, commands[i].arguments);
    return 2;
}
