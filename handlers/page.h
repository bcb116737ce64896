/*
 * Pages of a list. The cursor of nextLink is the key of the last row that was shown, authenticated
 * with KEY_CURSOR together with the list it belongs to (path and filters), so that a cursor that was
 * changed or moved to another list is refused. Any thread.
 */
#ifndef HANDLERS_PAGE_H
#define HANDLERS_PAGE_H

#include "core/json.h"
#include "handlers/call.h"

#define PAGE_FILTERS_MAX 4

/* One list: made by the handler, and the same for each of its pages. */
struct page_of {
    const char *path;                          /* as in the link, without query */
    struct str_pair filters[PAGE_FILTERS_MAX]; /* values NULL where absent */
    int64_t top;
    const char *cursor; /* of this request, or NULL */
};

/* The key that the cursor carries, for struct page; ERR_VALIDATION at "?cursor". */
enum err page_open(struct call *c, const struct page_of *list, struct page *out) MUST_CHECK;
/* The absolute link to the page after the row `last`, in the call's arena. */
const char *page_next(struct call *c, const struct page_of *list, const char *last);
/* The list's envelope: begin, the items with the writer that it returns, end. `last` is the key of the
 * last row where there are more, else NULL. page_end returns the reply's status. */
struct jw *page_begin(struct call *c);
int page_end(struct call *c, const struct page_of *list, const char *last);
/* The path of this call's list: the collection below the path parameters. */
const char *page_vm_path(struct call *c, const char *tail);

#endif
