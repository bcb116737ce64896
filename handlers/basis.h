/*
 * What the answer to a GET rests on beside the request, its caller and what is fixed while the server
 * runs. A client that polls asks the same again and again; while all of this stands, the same request
 * of the same caller has the same answer, and the server gives it without asking the handler.
 *
 * Pure but for the store's and the book's numbers; any thread.
 */
#ifndef HANDLERS_BASIS_H
#define HANDLERS_BASIS_H

#include "db/store.h"
#include "handlers/app.h"

struct basis {
    uint64_t vm;         /* its reading; 0: there is no basis, or it is not known */
    unsigned book;       /* the policies' generation */
    int64_t from, until; /* wall clock, ms, from <= now < until: within, nothing gets too old */
};

/* Of an answer that says nothing but what the VM's row and the policies say. `book` is the policies'
 * generation before they were looked at; vm_apply_age was done at `now`. */
struct basis basis_of_vm(const struct app *app, const struct vm *vm, unsigned book, int64_t now);

bool basis_stands(const struct app *app, const struct basis *b, int64_t now);

#endif
