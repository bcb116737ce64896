#include "arm/arm.h"

/* Endpoints of the sovereign clouds as the Azure SDKs have them. */
static const struct arm_cloud clouds[] = {
    {"public", "https://management.azure.com", "https://login.microsoftonline.com",
     "https://management.azure.com"},
    {"usgov", "https://management.usgovcloudapi.net", "https://login.microsoftonline.us",
     "https://management.usgovcloudapi.net"},
    {"china", "https://management.chinacloudapi.cn", "https://login.chinacloudapi.cn",
     "https://management.chinacloudapi.cn"},
};

const struct arm_cloud *arm_cloud_find(const char *name)
{
    if (!name || !*name)
        return &clouds[0];
    for (size_t i = 0; i < ARRAY_LEN(clouds); i++)
        if (strcmp(clouds[i].name, name) == 0)
            return &clouds[i];
    return NULL;
}
