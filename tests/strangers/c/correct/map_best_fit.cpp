// Best fit on the standard library's trees.
//
// All segments are in a std::map by address; the free ones are also in a std::set by (size, address), so that best fit with the
// lowest of equals is one lower_bound.  Freeing must not fail: each busy segment keeps the set node that it will need then, as
// a node handle, so that nothing is allocated in free().  An arena that is wholly free is unmapped at once.
//
// C++17.

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <new>
#include <set>
#include <utility>

#include "coalloc.h"

extern "C" {
COALLOC_SUBJECT(mbf_);
}

namespace {

using Address = std::uint64_t;
using Size = std::uint64_t;
using SizeIndex = std::set<std::pair<Size, Address>>;

struct Segment {
	Size size = 0;
	Address arena = 0;
	bool busy = false;
	SizeIndex::node_type handle; // in hand while the segment is busy, in the index while it is free
};

using Segments = std::map<Address, Segment>;

// A handle for a set node comes from a set that had it.
SizeIndex::node_type fresh_handle()
{
	SizeIndex nursery;
	nursery.emplace(0, 0);
	return nursery.extract(nursery.begin());
}

class Space {
public:
	Space(const coalloc_source &source, Size limit, Size quantum) : source_(source), limit_(limit), quantum_(quantum) {}
	Space(const Space &) = delete;
	Space &operator=(const Space &) = delete;

	int alloc(Size size, Address &base)
	{
		if (size == 0 || size > Size{1} << 63)
			return COALLOC_INVALID;
		size = (size + quantum_ - 1) & ~(quantum_ - 1);
		try {
			const int status = take(size, base);
			(status == COALLOC_OK ? counts_.allocs : counts_.refusals)++;
			return status;
		} catch (const std::bad_alloc &) {
			counts_.refusals++;
			return COALLOC_NOSPACE;
		}
	}

	int free(Address base) noexcept
	{
		auto here = segments_.find(base);
		if (here == segments_.end() || !here->second.busy)
			return COALLOC_BADFREE;
		counts_.frees++;
		live_ -= here->second.size;
		here->second.busy = false;

		auto next = std::next(here);
		if (next != segments_.end() && joins(here, next)) {
			unindex(next);
			here->second.size += next->second.size;
			segments_.erase(next);
		}
		if (here != segments_.begin()) {
			auto prev = std::prev(here);
			if (joins(prev, here)) {
				unindex(prev);
				prev->second.size += here->second.size;
				segments_.erase(here);
				here = prev;
			}
		}
		const auto arena = arenas_.find(here->second.arena);
		if (arena->second == here->second.size) {
			segments_.erase(here);
			release(arena);
		} else {
			index(here);
		}
		return COALLOC_OK;
	}

	int size_of(Address base, Size &size) const noexcept
	{
		const auto here = segments_.find(base);
		if (here == segments_.end() || !here->second.busy)
			return COALLOC_BADFREE;
		size = here->second.size;
		return COALLOC_OK;
	}

	template <typename Visitor> void each(Visitor visit) const
	{
		for (const auto &[base, segment] : segments_) {
			const coalloc_segment shown = {base, segment.size, segment.arena,
			    static_cast<std::uint64_t>(segment.busy ? COALLOC_BUSY : COALLOC_FREE)};
			visit(shown);
		}
	}

	coalloc_stats stats() const noexcept
	{
		coalloc_stats result = counts_;
		result.mapped = mapped_;
		result.live = live_;
		result.free = mapped_ - live_;
		result.arenas = arenas_.size();
		result.holes = holes_.size();
		result.largest_hole = holes_.empty() ? 0 : holes_.rbegin()->first;
		return result;
	}

private:
	// Whether two segments, the second behind the first, are parts of one hole.
	static bool joins(Segments::const_iterator first, Segments::const_iterator second) noexcept
	{
		return !first->second.busy && !second->second.busy && first->second.arena == second->second.arena;
	}

	void index(Segments::iterator here) noexcept
	{
		here->second.handle.value() = {here->second.size, here->first};
		holes_.insert(std::move(here->second.handle));
	}

	void unindex(Segments::iterator here) noexcept
	{
		here->second.handle = holes_.extract({here->second.size, here->first});
	}

	void release(std::map<Address, Size>::iterator arena) noexcept
	{
		source_.unmap(source_.cookie, arena->first, arena->second);
		mapped_ -= arena->second;
		counts_.releases++;
		arenas_.erase(arena);
	}

	// May throw, and has changed nothing then.
	int take(Size size, Address &base)
	{
		const auto best = holes_.lower_bound({size, 0});
		if (best != holes_.end()) {
			const auto here = segments_.find(best->second);
			auto rest = rest_for(here->second.size, size);
			unindex(here);
			base = carve(here, size, rest);
			return COALLOC_OK;
		}

		const Size granule = source_.granule;
		const Size granules = size / granule + (size % granule != 0 ? 1 : 0);
		if (granules > (limit_ - mapped_) / granule)
			return COALLOC_NOSPACE;
		const Size need = granules * granule;

		// All nodes first, in maps of their own: after map() has succeeded nothing may fail.
		Segments whole;
		whole[0].handle = fresh_handle();
		std::map<Address, Size> arena{{0, need}};
		auto rest = rest_for(need, size);

		Address start = 0;
		if (source_.map(source_.cookie, need, &start) != COALLOC_OK)
			return COALLOC_NOSPACE;
		mapped_ += need;
		counts_.imports++;
		if (mapped_ > counts_.peak_mapped)
			counts_.peak_mapped = mapped_;

		auto arena_node = arena.extract(arena.begin());
		arena_node.key() = start;
		arenas_.insert(std::move(arena_node));

		auto node = whole.extract(whole.begin());
		node.key() = start;
		node.mapped().size = need;
		node.mapped().arena = start;
		base = carve(segments_.insert(std::move(node)).position, size, rest);
		return COALLOC_OK;
	}

	// A segment in waiting for what will be left, if anything will be.
	static Segments rest_for(Size hole, Size size)
	{
		Segments rest;
		if (hole > size)
			rest[0].handle = fresh_handle();
		return rest;
	}

	// Here is in no index.  Make its first part busy and its rest a hole.
	Address carve(Segments::iterator here, Size size, Segments &spare) noexcept
	{
		if (here->second.size > size) {
			auto node = spare.extract(spare.begin());
			node.key() = here->first + size;
			node.mapped().size = here->second.size - size;
			node.mapped().arena = here->second.arena;
			index(segments_.insert(std::move(node)).position);
			here->second.size = size;
		}
		here->second.busy = true;
		live_ += size;
		return here->first;
	}

	const coalloc_source &source_;
	const Size limit_;
	const Size quantum_;
	Size mapped_ = 0;
	Size live_ = 0;
	Segments segments_;
	SizeIndex holes_;
	std::map<Address, Size> arenas_;
	coalloc_stats counts_{};
};

Space &space_of(void *space)
{
	return *static_cast<Space *>(space);
}

} // namespace

extern "C" {

const char *mbf_contract(void)
{
	return "fit=best,tie=lowest,release=eager,work=logarithmic";
}

int mbf_open(const coalloc_source *source, uint64_t limit, uint64_t quantum, const char *, void **space)
{
	if (quantum == 0 || (quantum & (quantum - 1)) != 0 || quantum > source->granule || source->granule % quantum != 0)
		return COALLOC_INVALID;
	Space *made = nullptr;
	try {
		made = new Space(*source, limit, quantum);
	} catch (const std::bad_alloc &) {
		return COALLOC_NOSPACE;
	}
	*space = made;
	return COALLOC_OK;
}

void mbf_close(void *space)
{
	delete static_cast<Space *>(space);
}

int mbf_alloc(void *space, uint64_t size, uint64_t *base)
{
	Address found = 0;
	const int status = space_of(space).alloc(size, found);
	if (status == COALLOC_OK)
		*base = found;
	return status;
}

int mbf_free(void *space, uint64_t base)
{
	return space_of(space).free(base);
}

int mbf_size_of(void *space, uint64_t base, uint64_t *size)
{
	return space_of(space).size_of(base, *size);
}

void mbf_walk(void *space, void (*show)(void *cookie, const coalloc_segment *segment), void *cookie)
{
	space_of(space).each([=](const coalloc_segment &segment) { show(cookie, &segment); });
}

void mbf_stats(void *space, coalloc_stats *stats)
{
	*stats = space_of(space).stats();
}

} // extern "C"
