// One mapping per request, and nothing is ever carved.
//
// Every buffer has an arena of its own, which goes back to the source with it.  What the granule adds behind the buffer lies
// idle for as long as the buffer lives.  Mappings are kept in a treap whose priorities are a hash of
// the address, so that the shape depends on the addresses only.

#include <stdbool.h>
#include <stdlib.h>
#include "coalloc.h"

COALLOC_SUBJECT(direct_);

struct mapping {
  struct mapping *left;
  struct mapping *right;
  uint64_t base;
  uint64_t size;    // of the buffer
  uint64_t mapped;  // of its arena
};

struct direct {
  const struct coalloc_source *source;
  uint64_t limit;
  uint64_t quantum;
  uint64_t mapped;
  struct mapping *root;
  struct coalloc_stats counters;
};

const char *direct_contract(void) {
  return "completeness=best-effort,coalescing=by-arena,release=eager,laws=shift";
}

static uint64_t priority(const struct mapping *m) {
  uint64_t x = m->base + UINT64_C(0x9e3779b97f4a7c15);
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}

static void split(struct mapping *tree, uint64_t base, struct mapping **low, struct mapping **high) {
  while (tree) {
    if (tree->base < base) {
      *low = tree;
      low = &tree->right;
      tree = tree->right;
    } else {
      *high = tree;
      high = &tree->left;
      tree = tree->left;
    }
  }
  *low = NULL;
  *high = NULL;
}

static void insert(struct mapping **root, struct mapping *m) {
  while (*root && priority(*root) >= priority(m))
    root = m->base < (*root)->base ? &(*root)->left : &(*root)->right;
  struct mapping *tree = *root;
  split(tree, m->base, &m->left, &m->right);
  *root = m;
}

static struct mapping **find(struct mapping **root, uint64_t base) {
  while (*root && (*root)->base != base)
    root = base < (*root)->base ? &(*root)->left : &(*root)->right;
  return root;
}

static void remove_at(struct mapping **place) {
  struct mapping *low = (*place)->left, *high = (*place)->right;
  while (low && high) {
    if (priority(low) >= priority(high)) {
      *place = low;
      place = &low->right;
      low = low->right;
    } else {
      *place = high;
      place = &high->left;
      high = high->left;
    }
  }
  *place = low ? low : high;
}

int direct_open(const struct coalloc_source *source, uint64_t limit, uint64_t quantum, const char *options, void **space) {
  (void)options;
  bool power = quantum != 0 && (quantum & (quantum - 1)) == 0;
  if (!power || quantum > source->granule || source->granule % quantum != 0)
    return COALLOC_INVALID;
  struct direct *d = calloc(1, sizeof(struct direct));
  if (!d)
    return COALLOC_NOSPACE;
  d->source = source;
  d->limit = limit;
  d->quantum = quantum;
  *space = d;
  return COALLOC_OK;
}

void direct_close(void *space) {
  struct direct *d = space;
  while (d->root) {
    struct mapping *m = d->root;
    remove_at(&d->root);
    free(m);
  }
  free(d);
}

int direct_alloc(void *space, uint64_t size, uint64_t *base) {
  struct direct *d = space;
  if (size == 0 || size > UINT64_C(1) << 63)
    return COALLOC_INVALID;
  size = (size + d->quantum - 1) & ~(d->quantum - 1);

  uint64_t granule = d->source->granule;
  uint64_t granules = size / granule + (size % granule != 0);
  struct mapping *m = NULL;
  if (granules > (d->limit - d->mapped) / granule)
    goto refuse;
  m = malloc(sizeof(struct mapping));
  if (!m)
    goto refuse;
  m->size = size;
  m->mapped = granules * granule;
  if (d->source->map(d->source->cookie, m->mapped, &m->base) != COALLOC_OK)
    goto refuse;
  insert(&d->root, m);
  d->mapped += m->mapped;
  d->counters.live += size;
  d->counters.arenas++;
  d->counters.allocs++;
  d->counters.imports++;
  if (d->counters.peak_mapped < d->mapped)
    d->counters.peak_mapped = d->mapped;
  *base = m->base;
  return COALLOC_OK;

refuse:
  free(m);
  d->counters.refusals++;
  return COALLOC_NOSPACE;
}

int direct_free(void *space, uint64_t base) {
  struct direct *d = space;
  struct mapping **place = find(&d->root, base);
  struct mapping *m = *place;
  if (!m)
    return COALLOC_BADFREE;
  remove_at(place);
  d->source->unmap(d->source->cookie, m->base, m->mapped);
  d->mapped -= m->mapped;
  d->counters.live -= m->size;
  d->counters.arenas--;
  d->counters.frees++;
  d->counters.releases++;
  free(m);
  return COALLOC_OK;
}

int direct_size_of(void *space, uint64_t base, uint64_t *size) {
  struct direct *d = space;
  struct mapping *m = *find(&d->root, base);
  if (!m)
    return COALLOC_BADFREE;
  *size = m->size;
  return COALLOC_OK;
}

static void show_tree(const struct mapping *m, void (*show)(void *, const struct coalloc_segment *), void *cookie) {
  if (!m)
    return;
  show_tree(m->left, show, cookie);
  struct coalloc_segment busy = {.base = m->base, .size = m->size, .arena = m->base, .kind = COALLOC_BUSY};
  show(cookie, &busy);
  if (m->mapped > m->size) {
    struct coalloc_segment rest = {m->base + m->size, m->mapped - m->size, m->base, COALLOC_FREE};
    show(cookie, &rest);
  }
  show_tree(m->right, show, cookie);
}

void direct_walk(void *space, void (*show)(void *cookie, const struct coalloc_segment *segment), void *cookie) {
  struct direct *d = space;
  show_tree(d->root, show, cookie);
}

static void measure(const struct mapping *m, struct coalloc_stats *stats) {
  if (!m)
    return;
  uint64_t rest = m->mapped - m->size;
  if (rest) {
    stats->holes++;
    stats->free += rest;
    if (rest > stats->largest_hole)
      stats->largest_hole = rest;
  }
  measure(m->left, stats);
  measure(m->right, stats);
}

void direct_stats(void *space, struct coalloc_stats *stats) {
  struct direct *d = space;
  *stats = d->counters;
  stats->mapped = d->mapped;
  measure(d->root, stats);
}
