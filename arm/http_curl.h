/* What transfers and the connections for polls have in common of libcurl. Inside arm/ only. */
#ifndef ARM_HTTP_CURL_H
#define ARM_HTTP_CURL_H

#include "arm/http.h"

#include <curl/curl.h>

/* The options of a handle that do not change from one request to the next. */
void arm_http_set_up(const struct arm_http_config *cfg, CURL *easy, const struct arm_http_call *c);
/* Why there is no answer; `sent`: the request may have reached ARM. */
enum arm_failure arm_http_failure(CURLcode code, bool sent);

#endif
