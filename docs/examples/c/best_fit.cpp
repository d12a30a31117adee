// best_fit.cpp: best fit in C++, with the standard library's ordered containers; the interface is C's.
#include <iterator>
#include <map>
#include <new>
#include <set>
#include <utility>

#include <coalloc.h>

extern "C" {
COALLOC_SUBJECT(best_);
}

namespace
{

struct Space {
	const coalloc_source *source;
	uint64_t limit, quantum, mapped = 0;
	std::map<uint64_t, uint64_t> arenas, holes, busy;    // sizes by base
	std::set<std::pair<uint64_t, uint64_t>> by_size; // the same holes as (size, base)

	void add(uint64_t base, uint64_t size)
	{
		holes[base] = size;
		by_size.emplace(size, base);
	}

	void drop(std::map<uint64_t, uint64_t>::iterator hole)
	{
		by_size.erase({hole->second, hole->first});
		holes.erase(hole);
	}

	bool import(uint64_t size)
	{
		uint64_t granule = source->granule, whole = (size + granule - 1) & ~(granule - 1), base;

		if (whole > limit - mapped || source->map(source->cookie, whole, &base) != COALLOC_OK)
			return false;
		mapped += whole;
		arenas[base] = whole;
		add(base, whole);
		return true;
	}

	int alloc(uint64_t size, uint64_t &base)
	{
		if (size == 0 || size > uint64_t{1} << 63)
			return COALLOC_INVALID;
		size = (size + quantum - 1) & ~(quantum - 1);
		auto best = by_size.lower_bound({size, 0});
		if (best == by_size.end() && !import(size))
			return COALLOC_NOSPACE;
		best = by_size.lower_bound({size, 0});
		auto [length, at] = *best;
		drop(holes.find(at));
		if (length > size)
			add(at + size, length - size);
		busy[at] = size;
		base = at;
		return COALLOC_OK;
	}

	int free(uint64_t base)
	{
		auto buffer = busy.find(base);
		if (buffer == busy.end())
			return COALLOC_BADFREE;
		uint64_t size = buffer->second;
		busy.erase(buffer);
		auto arena = std::prev(arenas.upper_bound(base));
		auto behind = holes.find(base + size);
		if (behind != holes.end() && behind->first < arena->first + arena->second) {
			size += behind->second;
			drop(behind);
		}
		auto before = holes.lower_bound(base);
		if (before != holes.begin() && (--before)->first + before->second == base && before->first >= arena->first) {
			base = before->first;
			size += before->second;
			drop(before);
		}
		if (size < arena->second) {
			add(base, size);
			return COALLOC_OK;
		}
		mapped -= size;
		arenas.erase(arena);
		source->unmap(source->cookie, base, size);
		return COALLOC_OK;
	}
};

}

extern "C" {

const char *best_contract(void)
{
	return "fit=best,tie=lowest,coalescing=immediate,release=eager";
}

int best_open(const coalloc_source *source, uint64_t limit, uint64_t quantum, const char *, void **opened)
{
	*opened = new (std::nothrow) Space{source, limit, quantum, 0, {}, {}, {}, {}};
	return *opened != nullptr ? COALLOC_OK : COALLOC_NOSPACE;
}

void best_close(void *opened)
{
	delete static_cast<Space *>(opened);
}

int best_alloc(void *opened, uint64_t size, uint64_t *base)
{
	return static_cast<Space *>(opened)->alloc(size, *base);
}

int best_free(void *opened, uint64_t base)
{
	return static_cast<Space *>(opened)->free(base);
}

}
