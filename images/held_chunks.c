/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The chunks of an image in part, by the words of the map.
 *
 * The agent, the multicast receiver, the peers' server and the VMs' disk server are threads and
 * programs that come and go, and each may be killed at any moment. They agree by one word per chunk
 * in shared memory, changed by atomic operations:
 *
 *   a put       writes the bytes, then says present, then counts them. Killed between: absent, the
 *               bytes are fetched again; or not counted.
 *   an evict    takes them off the count, says absent with a new number, then makes the hole.
 *               Killed between: not counted; or a hole too little, which the next put fills.
 *   a read      looks at the word, reads, looks again: another word means that the bytes may be
 *               a mixture, and the reader is told that the chunk is gone.
 *   a waiter    sleeps on the chunk's own word (futex), so a put wakes those who need it.
 *
 * Writers of one chunk keep out of each other's way by a record lock on the map, which the kernel
 * takes back from whoever dies; threads of one process, whom such a lock does not part, by a mutex
 * of that process beside it. Reading takes neither. A count that is too low costs a little memory
 * until the image is whole; one that is too high would look whole when it is not. No function here
 * verifies what a caller puts.
 */
#include "images/held_inside.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/syscall.h>

#include "lib/clock.h"

int held_lock(const struct held *held, off_t at, short type, bool wait)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
	int r;

	while ((r = fcntl(held->map, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock)) < 0)
		if (errno != EINTR)
			return -errno;
	return r;
}

/* The right to change the bytes of this chunk; false: somebody else has it (only without wait). */
static bool chunk_lock(struct held *held, size_t number, bool wait)
{
	pthread_mutex_t *gate = &held->gates[number % HELD_GATES];

	if ((wait ? pthread_mutex_lock(gate) : pthread_mutex_trylock(gate)) != 0)
		return false;
	if (held_lock(held, (off_t)(HELD_LOCK_CHUNKS + (int64_t)number), F_WRLCK, wait) == 0)
		return true;
	pthread_mutex_unlock(gate);
	return false;
}

static void chunk_unlock(struct held *held, size_t number)
{
	held_lock(held, (off_t)(HELD_LOCK_CHUNKS + (int64_t)number), F_UNLCK, true);
	pthread_mutex_unlock(&held->gates[number % HELD_GATES]);
}

/* ---- putting and taking away ---- */

static void wake(struct held *held, size_t number)
{
	syscall(SYS_futex, &held->state[number], FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* Never below zero: a chunk that nobody counted (killed) may be taken away. */
static void discount(struct held *held, uint64_t len)
{
	uint64_t have = atomic_load(&held->head->have);

	while (!atomic_compare_exchange_weak(&held->head->have, &have, have > len ? have - len : 0))
		;
}

/* Takes away one chunk of the disk, with its lock held. */
static bool evict_locked(struct held *held, size_t number)
{
	uint32_t word = atomic_load(&held->state[number]);
	struct held_chunk chunk;

	held_chunk_at(held, number, &chunk);
	if (chunk.zero || (word & HELD_STATE) != HELD_PRESENT)
		return false;
	discount(held, chunk.len);
	atomic_store(&held->state[number], ((word & ~HELD_STATE) + HELD_LIFE) | HELD_ABSENT);
	held_punch(held, &chunk);
	return true;
}

/* The chunk of the disk that was not read for longest, `but` excepted; held_count(): none. */
static size_t oldest(const struct held *held, size_t but)
{
	uint32_t now = atomic_load(&held->head->tick);
	size_t found = held_count(held);
	int32_t age, most = 0; /* what was put or read since then is of a negative age */

	for (size_t i = held->first[PART_DISK]; i < held->first[PART_DISK + 1]; i++) {
		if (i == but || (atomic_load(&held->state[i]) & HELD_STATE) != HELD_PRESENT)
			continue;
		age = (int32_t)(now - atomic_load_explicit(&held->used[i], memory_order_relaxed));
		if (found == held_count(held) || age > most) {
			most = age;
			found = i;
		}
	}
	return found;
}

/* A chunk whose lock another has is about to change anyway; the next round looks again. */
static void make_room(struct held *held, size_t len, size_t but)
{
	uint64_t limit = atomic_load(&held->head->limit);

	while (limit && held_have(held) + len > limit) {
		size_t number = oldest(held, but);

		if (number == held_count(held) || !chunk_lock(held, number, false))
			return;
		evict_locked(held, number);
		chunk_unlock(held, number);
	}
}

static int write_whole(int fd, const void *bytes, size_t len, uint64_t at)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(fd, (const char *)bytes + done, len - done, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

/* From one of the states in `from` (bits) to another; false: it is in none of them. The count of
 * wanted chunks is never too low: who is killed in here leaves it too high, which costs a search.
 */
static bool change(struct held *held, size_t number, unsigned from, uint32_t to)
{
	uint32_t word = atomic_load(&held->state[number]);
	bool done = false;

	if (to == HELD_WANTED)
		atomic_fetch_add(&held->head->wanted, 1);
	while (!done && (from >> (word & HELD_STATE) & 1))
		done = atomic_compare_exchange_weak(
			&held->state[number], &word, (word & ~(uint32_t)HELD_STATE) | to);
	if (to == HELD_WANTED ? !done : done && (word & HELD_STATE) == HELD_WANTED)
		atomic_fetch_sub(&held->head->wanted, 1);
	return done;
}

static void say_present(struct held *held, size_t number, size_t len)
{
	atomic_store(&held->used[number], atomic_fetch_add(&held->head->tick, 1));
	change(held, number, 1 << HELD_ABSENT | 1 << HELD_WANTED | 1 << HELD_TAKEN, HELD_PRESENT);
	atomic_fetch_add(&held->head->have, len);
	wake(held, number);
}

int held_put(struct held *held, size_t number, const void *bytes, struct error **err)
{
	struct held_chunk chunk;
	int r;

	if (held_has(held, number))
		return 0;
	held_chunk_at(held, number, &chunk);
	make_room(held, chunk.len, number);
	if (!chunk_lock(held, number, true))
		return error_make(err, -ENOLCK, "the chunks of %s cannot be locked", held->folder);
	r = held_has(held, number)
		    ? 0
		    : write_whole(held->files[chunk.part], bytes, chunk.len, chunk.at);
	if (r == 0 && !held_has(held, number))
		say_present(held, number, chunk.len);
	chunk_unlock(held, number);
	make_room(held, 0, number); /* two that put at once each took the same room for theirs */
	return r < 0 ? error_make(err, r, "writing the image to %s: %s", held->folder, strerror(-r))
		     : 0;
}

void held_set_limit(struct held *held, uint64_t bytes)
{
	atomic_store(&held->head->limit, bytes);
	make_room(held, 0, held_count(held));
}

uint64_t held_limit(const struct held *held)
{
	return atomic_load(&held->head->limit);
}

/* ---- reading and waiting ---- */

static void note_read(struct held *held, size_t number)
{
	uint32_t now = atomic_load_explicit(&held->head->tick, memory_order_relaxed), slot;

	if (atomic_load_explicit(&held->used[number], memory_order_relaxed) != now)
		atomic_store_explicit(&held->used[number], now, memory_order_relaxed);
	if (atomic_load_explicit(&held->seen[number], memory_order_relaxed) ||
		atomic_exchange(&held->seen[number], 1))
		return;
	slot = atomic_fetch_add(&held->head->ordered, 1);
	if (slot < held_count(held))
		atomic_store(&held->order[slot], (uint32_t)number + 1);
}

static int read_whole(int fd, void *out, size_t len, uint64_t at)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pread(fd, (char *)out + done, len - done, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

static int chunk_copy(struct held *held, size_t number, uint64_t at, void *out, size_t len,
	bool is_use, struct error **err)
{
	uint32_t word = atomic_load(&held->state[number]);
	struct held_chunk chunk;
	int r;

	held_chunk_at(held, number, &chunk);
	if (at < chunk.at || len > chunk.len || at - chunk.at > chunk.len - len)
		return error_make(err, -EINVAL, "a read beyond chunk %zu", number);
	if (chunk.zero) {
		memset(out, 0, len);
		return 0;
	}
	if ((word & HELD_STATE) != HELD_PRESENT)
		return -ENOENT;
	if (is_use)
		note_read(held, number);
	r = read_whole(held->files[chunk.part], out, len, at);
	if (r < 0)
		return error_make(
			err, r, "reading the image in %s: %s", held->folder, strerror(-r));
	return atomic_load(&held->state[number]) == word ? 0 : -ENOENT;
}

int held_read(
	struct held *held, size_t number, uint64_t at, void *out, size_t len, struct error **err)
{
	return chunk_copy(held, number, at, out, len, true, err);
}

int held_peek(
	struct held *held, size_t number, uint64_t at, void *out, size_t len, struct error **err)
{
	return chunk_copy(held, number, at, out, len, false, err);
}

void held_want(struct held *held, size_t number)
{
	struct held_chunk chunk;

	held_chunk_at(held, number, &chunk);
	if (!chunk.zero)
		change(held, number, 1 << HELD_ABSENT, HELD_WANTED);
}

bool held_take(struct held *held, size_t number)
{
	return !held_has(held, number) &&
	       change(held, number, 1 << HELD_ABSENT | 1 << HELD_WANTED, HELD_TAKEN);
}

bool held_is_taken(const struct held *held, size_t number)
{
	return (atomic_load(&held->state[number]) & HELD_STATE) == HELD_TAKEN;
}

void held_untake(struct held *held, size_t number)
{
	change(held, number, 1 << HELD_TAKEN, HELD_WANTED);
}

uint32_t held_puts(const struct held *held)
{
	return atomic_load(&held->head->tick);
}

size_t held_next_wanted(const struct held *held, size_t from)
{
	size_t count = held_count(held);

	if (atomic_load(&held->head->wanted) == 0)
		return count;
	while (from < count && (atomic_load(&held->state[from]) & HELD_STATE) != HELD_WANTED)
		from++;
	return from;
}

int held_wait(struct held *held, size_t number, unsigned timeout_ms)
{
	int64_t end_ms = clock_mono_ms() + timeout_ms, left_ms;

	while (!held_has(held, number)) {
		uint32_t word = atomic_load(&held->state[number]);
		struct timespec left;

		if ((word & HELD_STATE) == HELD_PRESENT)
			break;
		left_ms = end_ms - clock_mono_ms();
		if (left_ms <= 0)
			return -ETIMEDOUT;
		left = (struct timespec){left_ms / 1000, left_ms % 1000 * 1000000};
		syscall(SYS_futex, &held->state[number], FUTEX_WAIT, word, &left, NULL, 0);
	}
	return 0;
}

size_t held_order(const struct held *held, uint32_t *ret_numbers, size_t max)
{
	size_t slots = atomic_load(&held->head->ordered), n = 0;

	if (slots > held_count(held))
		slots = held_count(held);
	for (size_t i = 0; i < slots && n < max; i++) {
		uint32_t number = atomic_load(&held->order[i]);

		if (number)
			ret_numbers[n++] = number - 1;
	}
	return n;
}
