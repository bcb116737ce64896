/* The administrator and the name of a VM's operating system. */
#include "emulator/rules_vm.h"

#include <ctype.h>

static bool name_allowed(const char *name)
{
    static const char *const refused[] = {"administrator",
                                          "admin",
                                          "user",
                                          "user1",
                                          "test",
                                          "user2",
                                          "test1",
                                          "user3",
                                          "admin1",
                                          "1",
                                          "123",
                                          "a",
                                          "actuser",
                                          "adm",
                                          "admin2",
                                          "aspnet",
                                          "backup",
                                          "console",
                                          "david",
                                          "guest",
                                          "john",
                                          "owner",
                                          "root",
                                          "server",
                                          "sql",
                                          "support",
                                          "support_388945a0",
                                          "sys",
                                          "test2",
                                          "test3",
                                          "user4",
                                          "user5"};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        if (strcasecmp(name, refused[i]) == 0)
            return false;
    return true;
}

static bool password_strong(const char *text, size_t least)
{
    bool upper = false, lower = false, digit = false, special = false;
    size_t n = strlen(text);
    for (const char *p = text; *p; p++) {
        upper = upper || isupper((unsigned char)*p);
        lower = lower || islower((unsigned char)*p);
        digit = digit || isdigit((unsigned char)*p);
        special = special || !isalnum((unsigned char)*p);
    }
    return n >= least && n <= 123 && upper + lower + digit + special >= 3;
}

static bool password_good(struct arm_call *c, bool windows)
{
    const char *password = json_path_str(c->body, "properties/osProfile/adminPassword");
    if (!password || password_strong(password, windows ? 8 : 6))
        return true;
    return arm_error_at(c, 400, "InvalidParameter", "adminPassword",
                        "The supplied password must be between %d-%d characters long and must "
                        "satisfy at least 3 of password complexity requirements from the "
                        "following: 1) Contains an uppercase character 2) Contains a lowercase "
                        "character 3) Contains a numeric digit 4) Contains a special character "
                        "5) Control characters are not allowed",
                        windows ? 8 : 6, windows ? 123 : 72);
}

static bool keys_good(struct arm_call *c, const json_t *os, const char *user)
{
    const json_t *keys = json_path(os, "linuxConfiguration/ssh/publicKeys");
    const char *path = arena_printf(c->arena, "/home/%s/.ssh/authorized_keys", user);
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const char *data = arm_text(json_array_get(keys, i), "keyData");
        if (strcmp(arm_text(json_array_get(keys, i), "path"), path) != 0)
            return arm_error_at(c, 400, "InvalidParameter",
                                "linuxConfiguration.ssh.publicKeys.path",
                                "Destination path for SSH public keys is currently limited to its "
                                "default value %s due to a known issue in Linux provisioning "
                                "agent.",
                                path);
        if (strncmp(data, "ssh-rsa ", 8) != 0 && strncmp(data, "ssh-ed25519 ", 12) != 0)
            return arm_error_at(c, 400, "InvalidParameter",
                                "linuxConfiguration.ssh.publicKeys.keyData",
                                "The value of parameter linuxConfiguration.ssh.publicKeys.keyData "
                                "is invalid.");
    }
    bool no_password = arm_flag(os, "linuxConfiguration/disablePasswordAuthentication");
    if (no_password && json_array_size(keys) == 0)
        return arm_error_at(c, 400, "InvalidParameter", "linuxConfiguration",
                            "Authentication using either SSH or by user name and password must be "
                            "enabled in Linux profile.");
    if (!no_password && !json_path_str(c->body, "properties/osProfile/adminPassword"))
        return rules_vm_missing(c, "adminPassword");
    return true;
}

static bool computer_name_good(struct arm_call *c, const char *name, bool windows)
{
    size_t n = strlen(name);
    size_t max = windows ? 15 : 64;
    bool digits = true;
    bool ok = n > 0 && n <= max && name[n - 1] != '-';
    for (const char *p = name; ok && *p; p++) {
        ok = isalnum((unsigned char)*p) || *p == '-' || (!windows && *p == '.');
        digits = digits && isdigit((unsigned char)*p);
    }
    if (ok && !(windows && digits))
        return true;
    return arm_error_at(c, 400, "InvalidParameter", "computerName",
                        "%s computer name cannot be more than %zu characters long, be entirely "
                        "numeric, or contain the following characters: ` ~ ! @ # $ %% ^ & * ( ) = "
                        "+ _ [ ] { } \\ | ; : . ' \" , < > / ?.",
                        windows ? "Windows" : "Linux", max);
}

bool rules_vm_os_profile(struct arm_call *c, json_t *body, const struct vm_image *image)
{
    json_t *os = arm_member(body, "properties/osProfile");
    bool windows = strcmp(image->os, "Windows") == 0;
    if (image->specialized)
        return !os || arm_error_at(c, 400, "InvalidParameter", "osProfile",
                                   "Parameter 'osProfile' is not allowed.");
    if (!os)
        return rules_vm_missing(c, "osProfile");
    const char *user = arm_text(os, "adminUsername");
    if (!*arm_text(os, "computerName"))
        return rules_vm_missing(c, "osProfile.computerName");
    if (!*user)
        return rules_vm_missing(c, "osProfile.adminUsername");
    if (!name_allowed(user) || strlen(user) > (windows ? 20 : 64))
        return arm_error_at(c, 400, "InvalidParameter", "adminUsername",
                            "The Admin Username specified is not allowed.");
    if (windows && json_object_get(os, "linuxConfiguration"))
        return arm_error_at(c, 400, "InvalidParameter", "linuxConfiguration",
                            "Parameter 'linuxConfiguration' is not allowed.");
    if (!windows && json_object_get(os, "windowsConfiguration"))
        return arm_error_at(c, 400, "InvalidParameter", "windowsConfiguration",
                            "Parameter 'windowsConfiguration' is not allowed.");
    if (windows && !json_path_str(c->body, "properties/osProfile/adminPassword"))
        return rules_vm_missing(c, "adminPassword");
    return computer_name_good(c, arm_text(os, "computerName"), windows) &&
           password_good(c, windows) && (windows || keys_good(c, os, user));
}
