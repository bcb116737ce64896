#include "openapi/document.h"

/* openapi.json, by cmake/embed.cmake. */
static const unsigned char text[] = {
#include "openapi/openapi_json.h"
};

const struct bytes openapi_document = {text, sizeof text};
