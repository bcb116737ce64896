/* /openapi.json and /problems/{code}: the contract and its errors. */
#include "handlers/call.h"
#include "handlers/problem.h"
#include "handlers/routes.h"

#include "openapi/document.h"

int get_openapi(struct call *c)
{
    buf_reset(&c->out);
    buf_add(&c->out, openapi_document.data, openapi_document.len);
    return call_etag_of_body(c);
}

int get_problem_type(struct call *c)
{
    enum err code = err_from_code(c->params[0]);
    const char *meaning = problem_meaning(code);
    if (!meaning || strcmp(err_code(code), c->params[0]) != 0)
        return call_refuse(c, ERR_NOT_FOUND, "there is no problem type %s", c->params[0]);
    struct jw *w = call_json(c);
    jw_open(w, '{');
    jw_key_str(w, "code", err_code(code));
    jw_key_str(w, "title", err_title(code));
    jw_key_int(w, "status", err_http_status(code));
    jw_key_str(w, "description", meaning);
    jw_close(w, '}');
    return call_etag_of_body(c);
}
