/* The bytes of /openapi.json. */
#ifndef OPENAPI_DOCUMENT_H
#define OPENAPI_DOCUMENT_H

#include "core/bytes.h"

extern const struct bytes openapi_document;

#endif
