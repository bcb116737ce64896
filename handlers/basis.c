#include "handlers/basis.h"

#include "handlers/policy_book.h"

struct basis basis_of_vm(const struct app *app, const struct vm *vm, unsigned book, int64_t now)
{
    return (struct basis){
        .vm = vm->reading, .book = book, .from = now, .until = vm_ages_at(vm, app->max_age_ms)};
}

bool basis_stands(const struct app *app, const struct basis *b, int64_t now)
{
    return b->vm && b->from <= now && now < b->until &&
           b->book == policy_book_generation(app->book) && store_vm_stands(app->store, b->vm);
}
