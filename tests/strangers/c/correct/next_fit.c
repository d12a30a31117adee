/* next_fit.c - next fit on one address-ordered ring of segments; keeps one idle arena in hand.
 *
 * The rover is the segment at which the next search begins: what follows
 * the last thing handed out.  If the rover's segment is merged into
 * another, the rover becomes that one.
 */

#include <stdlib.h>
#include "coalloc.h"

COALLOC_SUBJECT(nf_);

typedef uint64_t u64;
typedef struct seg Seg;
typedef struct arn Arn;
typedef struct nf Nf;

struct seg {
    Seg *fwd, *bak;
    u64  base, len;
    Arn *arn;
    int  busy;
};

struct arn {
    u64 base, len;
};

struct nf {
    const struct coalloc_source *src;
    u64  limit, q, mapped;
    Seg  ring;      /* the head; holds nothing, lies before all */
    Seg *rover;     /* may be the head */
    Arn *idle;      /* the one idle arena that is kept, or NULL */
    struct coalloc_stats st;
};

const char *nf_contract(void)
{
    return "release=retain(1),laws=shift";
}

int nf_open(const struct coalloc_source *src, u64 limit, u64 q,
            const char *options, void **space)
{
    Nf *f;

    (void)options;
    if (!q || (q & (q - 1)) || q > src->granule || src->granule % q)
        return COALLOC_INVALID;
    if (!(f = calloc(1, sizeof *f)))
        return COALLOC_NOSPACE;
    f->src = src;
    f->limit = limit;
    f->q = q;
    f->ring.fwd = f->ring.bak = &f->ring;
    f->ring.busy = 1;
    f->rover = &f->ring;
    *space = f;
    return COALLOC_OK;
}

void nf_close(void *space)
{
    Nf *f = space;
    Seg *s, *t;

    for (s = f->ring.fwd; s != &f->ring; s = t) {
        t = s->fwd;
        /* an arena's record goes with its last segment */
        if (t == &f->ring || t->arn != s->arn)
            free(s->arn);
        free(s);
    }
    free(f);
}

static void link_before(Seg *s, Seg *at)
{
    s->fwd = at;
    s->bak = at->bak;
    at->bak->fwd = s;
    at->bak = s;
}

static void drop(Nf *f, Seg *s, Seg *heir)
{
    if (f->rover == s)
        f->rover = heir;
    s->bak->fwd = s->fwd;
    s->fwd->bak = s->bak;
    free(s);
}

/* the arena that consists of the free segment s goes back to the source */
static u64 give_back(Nf *f, Seg *s)
{
    Arn *a = s->arn;
    u64 len = a->len;

    if (f->idle == a)
        f->idle = NULL;
    drop(f, s, s->fwd);
    f->src->unmap(f->src->cookie, a->base, len);
    f->mapped -= len;
    f->st.releases++;
    free(a);
    return len;
}

static Seg *find(Nf *f, u64 base)
{
    Seg *s;

    for (s = f->ring.fwd; s != &f->ring; s = s->fwd)
        if (s->base == base)
            return s->busy ? s : NULL;
    return NULL;
}

static u64 give_back_idle(Nf *f)
{
    Seg *s;

    if (f->idle)
        for (s = f->ring.fwd; s != &f->ring; s = s->fwd)
            if (s->arn == f->idle)
                return give_back(f, s);
    return 0;
}

int nf_alloc(void *space, u64 n, u64 *base)
{
    Nf *f = space;
    Seg *s, *rest = NULL, *whole = NULL;
    Arn *a = NULL;
    u64 g = f->src->granule, need, want, got, at;

    if (n == 0 || n > (u64)1 << 63)
        return COALLOC_INVALID;
    n = (n + f->q - 1) & ~(f->q - 1);

    if (!(rest = malloc(sizeof *rest)))
        goto no;

    s = f->rover;
    do {
        if (!s->busy && s->len >= n)
            goto carve;
        s = s->fwd;
    } while (s != f->rover);

    /* nothing fits: another arena */
    need = n;
    if (need % g) {
        if (g - need % g > UINT64_MAX - need)
            goto no;
        need += g - need % g;
    }
    if (need > f->limit)
        goto no;
    if (!(whole = malloc(sizeof *whole)) || !(a = malloc(sizeof *a)))
        goto no;
    if (need > f->limit - f->mapped) {
        if (!f->idle || need > f->limit - (f->mapped - f->idle->len))
            goto no;
        give_back_idle(f);
    }
    want = need;
    if (g <= UINT64_MAX / 32 && want < 32 * g && 32 * g <= f->limit - f->mapped)
        want = 32 * g;
    got = want;
    if (f->src->map(f->src->cookie, got, &at) != COALLOC_OK) {
        got = need;
        if (want == need || f->src->map(f->src->cookie, got, &at) != COALLOC_OK)
            goto no;
    }
    f->mapped += got;
    f->st.imports++;
    if (f->mapped > f->st.peak_mapped)
        f->st.peak_mapped = f->mapped;
    a->base = at;
    a->len = got;
    whole->base = at;
    whole->len = got;
    whole->arn = a;
    whole->busy = 0;
    for (s = f->ring.fwd; s != &f->ring && s->base < at; s = s->fwd)
        ;
    link_before(whole, s);
    s = whole;
    whole = NULL;
    a = NULL;

carve:
    if (f->idle == s->arn)
        f->idle = NULL;
    s->busy = 1;
    if (s->len > n) {
        rest->base = s->base + n;
        rest->len = s->len - n;
        rest->arn = s->arn;
        rest->busy = 0;
        s->len = n;
        link_before(rest, s->fwd);
    } else
        free(rest);
    f->rover = s->fwd;
    f->st.allocs++;
    *base = s->base;
    return COALLOC_OK;

no:
    free(rest);
    free(whole);
    free(a);
    f->st.refusals++;
    return COALLOC_NOSPACE;
}

int nf_free(void *space, u64 base)
{
    Nf *f = space;
    Seg *s = find(f, base), *t;

    if (!s)
        return COALLOC_BADFREE;
    f->st.frees++;
    s->busy = 0;
    t = s->fwd;
    if (!t->busy && t->arn == s->arn) {
        s->len += t->len;
        drop(f, t, s);
    }
    t = s->bak;
    if (!t->busy && t->arn == s->arn) {
        t->len += s->len;
        drop(f, s, t);
        s = t;
    }
    if (s->len == s->arn->len) {
        if (f->idle)
            give_back(f, s);
        else
            f->idle = s->arn;
    }
    return COALLOC_OK;
}

int nf_reclaim(void *space, u64 *unmapped)
{
    *unmapped = give_back_idle(space);
    return COALLOC_OK;
}

int nf_size_of(void *space, u64 base, u64 *size)
{
    Seg *s = find(space, base);

    if (!s)
        return COALLOC_BADFREE;
    *size = s->len;
    return COALLOC_OK;
}

void nf_walk(void *space, void (*show)(void *, const struct coalloc_segment *),
             void *cookie)
{
    Nf *f = space;
    struct coalloc_segment c;
    Seg *s;

    for (s = f->ring.fwd; s != &f->ring; s = s->fwd) {
        c.base = s->base;
        c.size = s->len;
        c.arena = s->arn->base;
        c.kind = s->busy ? COALLOC_BUSY : COALLOC_FREE;
        show(cookie, &c);
    }
}

void nf_stats(void *space, struct coalloc_stats *st)
{
    Nf *f = space;
    Seg *s;

    *st = f->st;
    st->mapped = f->mapped;
    for (s = f->ring.fwd; s != &f->ring; s = s->fwd) {
        if (s->bak == &f->ring || s->bak->arn != s->arn)
            st->arenas++;
        if (s->busy) {
            st->live += s->len;
            continue;
        }
        st->free += s->len;
        st->holes++;
        if (s->len > st->largest_hole)
            st->largest_hole = s->len;
    }
}
