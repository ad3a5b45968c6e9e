/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Matrix multiplication over MPI with a checked result: the example for `nightclass run`.
 *
 *     mpicc -O2 -o matmul docs/examples/matmul.c
 *     nightclass run -n 8 ./matmul 1024
 *
 * C = A * B for N x N matrices (default 512). B goes to every rank by broadcast; blocks of rows of
 * A are dealt out by scatter and rows of C come back by gather, so any number of ranks up to N
 * works, whether it divides N or not. Elements are small whole numbers, so every sum is exact in a
 * double (N * 99 * 99 stays far below 2^53) and the result must be right to the last bit, on
 * whatever machines the ranks ran.
 *
 * The check is Freivalds': for a random vector x, C x = A (B x) always holds for the right C and
 * holds for a wrong one with a chance below 2^-31 (one round, whole numbers modulo the prime 2^31 -
 * 1). It costs N^2 steps instead of N^3, and shares no code with the multiplication. For N up to
 * 64, C is also computed again by the school's method, element for element.
 *
 * Prints where each rank ran, the size, the seconds of the multiplication with its messages (the
 * slowest rank's), GFLOP/s, and "check: ok" or "check: FAILED"; exit code 0 or 1. "matmul N spoil"
 * adds one to one element of C before the check, to see that it can fail.
 */
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_N = 512, MAX_N = 16384, SMALL_N = 64, BLOCK = 64 };
#define PRIME 2147483647ULL

struct deal {
	int *counts, *offsets; /* elements of A and C per rank */
	int rows;	       /* of this rank */
};

static uint64_t random_state;

static uint64_t random_next(void) /* xorshift64* */
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * 2685821657736338717ULL;
}

static double *matrix_new(size_t rows, size_t columns)
{
	double *matrix = calloc(rows * columns + 1, sizeof(*matrix));
	if (!matrix) {
		fprintf(stderr, "matmul: no memory for %zu x %zu numbers\n", rows, columns);
		MPI_Abort(MPI_COMM_WORLD, 1);
	}
	return matrix;
}

static void matrix_fill(double *matrix, size_t n)
{
	for (size_t i = 0; i < n * n; i++)
		matrix[i] = (double)(random_next() >> 33 & 0x7f) - 28; /* -28 .. 99 */
}

static void deal_new(struct deal *deal, int n, int rank, int ranks)
{
	deal->counts = calloc((size_t)ranks, sizeof(int));
	deal->offsets = calloc((size_t)ranks, sizeof(int));
	if (!deal->counts || !deal->offsets)
		MPI_Abort(MPI_COMM_WORLD, 1);
	for (int i = 0, row = 0; i < ranks; i++) {
		int rows = n / ranks + (i < n % ranks);
		deal->counts[i] = rows * n;
		deal->offsets[i] = row * n;
		row += rows;
		if (i == rank)
			deal->rows = rows;
	}
}

/* c = a * b for `rows` rows, by blocks that stay in the cache. */
static void multiply(const double *a, const double *b, double *c, size_t rows, size_t n)
{
	for (size_t k0 = 0; k0 < n; k0 += BLOCK)
		for (size_t i = 0; i < rows; i++)
			for (size_t k = k0; k < n && k < k0 + BLOCK; k++) {
				double factor = a[i * n + k];
				for (size_t j = 0; j < n; j++)
					c[i * n + j] += factor * b[k * n + j];
			}
}

/* A whole number that a double holds -> 0 .. PRIME - 1. */
static uint64_t modulo(double value)
{
	int64_t rest = (int64_t)value % (int64_t)PRIME;
	return rest < 0 ? (uint64_t)(rest + (int64_t)PRIME) : (uint64_t)rest;
}

static void apply(const double *matrix, const uint64_t *x, uint64_t *y, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t sum = 0;
		for (size_t j = 0; j < n; j++)
			sum = (sum + modulo(matrix[i * n + j]) * x[j]) % PRIME;
		y[i] = sum;
	}
}

static int check_random(const double *a, const double *b, const double *c, size_t n)
{
	uint64_t *x = calloc(n, sizeof(*x)), *bx = calloc(n, sizeof(*bx)),
		 *abx = calloc(n, sizeof(*abx)), *cx = calloc(n, sizeof(*cx));
	int same = x && bx && abx && cx;
	if (same) {
		for (size_t i = 0; i < n; i++)
			x[i] = random_next() % PRIME;
		apply(b, x, bx, n);
		apply(a, bx, abx, n);
		apply(c, x, cx, n);
		same = memcmp(abx, cx, n * sizeof(*cx)) == 0;
	}
	free(x);
	free(bx);
	free(abx);
	free(cx);
	return same;
}

static int check_school(const double *a, const double *b, const double *c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++) {
			int64_t sum = 0;
			for (size_t k = 0; k < n; k++)
				sum += (int64_t)a[i * n + k] * (int64_t)b[k * n + j];
			if ((double)sum != c[i * n + j])
				return 0;
		}
	return 1;
}

/* "rank 3 -> alice-002", in order of the ranks. */
static void print_places(int rank, int ranks)
{
	char name[MPI_MAX_PROCESSOR_NAME] = {0}, *all = NULL;
	int length;
	MPI_Get_processor_name(name, &length);
	if (rank == 0 && !(all = calloc((size_t)ranks, sizeof(name))))
		MPI_Abort(MPI_COMM_WORLD, 1);
	MPI_Gather(name, sizeof(name), MPI_CHAR, all, sizeof(name), MPI_CHAR, 0, MPI_COMM_WORLD);
	for (int i = 0; rank == 0 && i < ranks; i++)
		printf("rank %d -> %s\n", i, all + (size_t)i * sizeof(name));
	if (rank == 0)
		fflush(stdout);
	free(all);
}

/* Deals out, multiplies, gathers; the seconds of the slowest rank. a and c: whole on rank 0 only.
 */
static double multiply_together(
	const double *a, double *b, double *c, int n, const struct deal *deal, int rank)
{
	double *part = matrix_new((size_t)deal->rows, (size_t)n),
	       *result = matrix_new((size_t)deal->rows, (size_t)n);
	double seconds, slowest = 0;
	MPI_Barrier(MPI_COMM_WORLD);
	double start = MPI_Wtime();
	MPI_Bcast(b, n * n, MPI_DOUBLE, 0, MPI_COMM_WORLD);
	MPI_Scatterv(a, deal->counts, deal->offsets, MPI_DOUBLE, part, deal->counts[rank],
		MPI_DOUBLE, 0, MPI_COMM_WORLD);
	multiply(part, b, result, (size_t)deal->rows, (size_t)n);
	MPI_Gatherv(result, deal->counts[rank], MPI_DOUBLE, c, deal->counts, deal->offsets,
		MPI_DOUBLE, 0, MPI_COMM_WORLD);
	seconds = MPI_Wtime() - start;
	MPI_Reduce(&seconds, &slowest, 1, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
	free(part);
	free(result);
	return slowest;
}

static int parse_size(const char *text)
{
	char *end;
	long n = text ? strtol(text, &end, 10) : DEFAULT_N;
	return text && (*end || n < 1 || n > MAX_N) ? 0 : (int)n;
}

static int report(
	const double *a, const double *b, const double *c, int n, int ranks, double seconds)
{
	int ok = check_random(a, b, c, (size_t)n) &&
		 (n > SMALL_N || check_school(a, b, c, (size_t)n));
	printf("size: %d x %d on %d ranks\n", n, n, ranks);
	printf("seconds: %.3f\n", seconds);
	printf("GFLOP/s: %.3f\n", seconds > 0 ? 2.0 * n * n * n / seconds / 1e9 : 0);
	printf("check: %s\n", ok ? "ok" : "FAILED");
	fflush(stdout);
	return ok;
}

int main(int argc, char **argv)
{
	int rank, ranks, ok = 1;
	struct deal deal = {0};
	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	int n = parse_size(argc > 1 ? argv[1] : NULL);
	if (n == 0 || argc > 3 || (argc == 3 && strcmp(argv[2], "spoil") != 0)) {
		if (rank == 0)
			fprintf(stderr, "usage: matmul [N [spoil]], N from 1 to %d\n", MAX_N);
		MPI_Finalize();
		return 2;
	}
	print_places(rank, ranks);
	random_state = (uint64_t)(MPI_Wtime() * 1e6) | 1;
	double *a = rank == 0 ? matrix_new((size_t)n, (size_t)n) : NULL,
	       *b = matrix_new((size_t)n, (size_t)n),
	       *c = rank == 0 ? matrix_new((size_t)n, (size_t)n) : NULL;
	if (rank == 0) {
		matrix_fill(a, (size_t)n);
		matrix_fill(b, (size_t)n);
	}
	deal_new(&deal, n, rank, ranks);
	double seconds = multiply_together(a, b, c, n, &deal, rank);
	if (rank == 0) {
		c[(size_t)n * (size_t)n / 2] += argc == 3;
		ok = report(a, b, c, n, ranks, seconds);
	}
	MPI_Bcast(&ok, 1, MPI_INT, 0, MPI_COMM_WORLD);
	free(a);
	free(b);
	free(c);
	free(deal.counts);
	free(deal.offsets);
	MPI_Finalize();
	return ok ? 0 : 1;
}
