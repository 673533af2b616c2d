/* Messages by a grammar: the columns' keys with values of all shapes, and now and then something that is no JSON. */
#include "fuzz_message.h"

#include <string.h>

#include "check.h"

/* A message while it is made. */
struct generator {
	uint32_t state;  /* of the random numbers */
	struct buf *out; /* not owned */
};

#define COUNT(array) (sizeof (array) / sizeof *(array))

static const char *const spaces[] = { " ", "\n", "\t", "\r\n", "  " };
static const char *const pieces[] = { "a", "Z", "0", "7", " ", "'", "''", "/", "\\/", "\\\\", "\\\"", "\\n", "\\t", "\\r", "\\b", "\\f", "\\u000b",
	"\\u0001", "\\u001a", "\\u0041", "\\u00e9", "\\u20AC", "\\ud83d\\ude00", "\\uDBFF\\uDFFF", "\\uffff", "\\\\N", "\\\\.", "\\\\x41", "\\\\u0000",
	"\xc3\xa9", "\xe2\x82\xac", "\xef\xbb\xbf", "\xf0\x9f\x98\x80", "\x7f", "NULL", "DEFAULT", "{", "}", "[", "]", ",", ":", "%", "`", "$1", ";--",
	"=", "0123456789abcdef", "\\u0022", "\\u005c", "\\u0027" };
static const char *const bad_pieces[] = { "\\u0000", "\\u0000\\u0000", "\\ud800", "\\udc00", "\\ud83d\\u0041", "\\ud83d\\ud83d\\ude00", "\\ud83d\\n",
	"\t", "\n", "\x01", "\x1f", "\"", "\\", "\\x41", "\\a", "\\u12", "\\u12g4", "\\U0041", "\xff", "\x80", "\xc0\xaf", "\xed\xa0\x80", "\xe2\x82",
	"\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\\ufdd0" };
static const char *const words[] = { "true", "false", "null" };
static const char *const bad_words[] = { "tru", "True", "nul", "falsey", "NaN", "Infinity", "-", "+1", "01", "-01", "1.", ".5", "1e", "1e+", "0x1",
	"--1", "1_0", "'a'", "undefined", "", "1 2", "-0x", "1.e1", "1e1.5", "\"a\"\"b\"", "[1,]", "[,1]", "{,}", "{\"a\"}", "{\"a\":}", "[1 2]" };
static const char *const dates[] = { "2024-02-29", "2023-02-29", "1970-01-01", "9999-12-31", "0000-01-01", "0001-01-01", "2000-03-01", "1900-02-28",
	"2024-13-01", "2024-00-10", "2024-12-00", "2024-12-31", "24-1-2" };
static const char *const times[] = { "00:00", "23:59", "24:00", "12:60", "00:30:00", "23:59:59", "11:22:60", "01:02:03.4", "01:02:03.123456789", "7",
	"01:02:03.", "05:06:07,5" };
static const char *const offsets[] = { "Z", "z", "", "+00", "+02:00", "-05:30", "+0545", "-23:59", "+24:00", "+1", " ", "+14:60", "Z " };
static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_";

static void make_value(struct generator *g, unsigned depth);

/* A random number below n. */
static unsigned
below(struct generator *g, size_t n)
{
	ASSERT(n > 0);
	g->state ^= g->state << 13;
	g->state ^= g->state >> 17;
	g->state ^= g->state << 5;
	return g->state % (unsigned)n;
}

#define ADD_ONE_OF(g, table) buf_adds((g)->out, (table)[below((g), COUNT(table))])

static void
add_space(struct generator *g)
{
	while (below(g, 8) == 0)
		ADD_ONE_OF(g, spaces);
}

static void
make_digits(struct generator *g)
{
	unsigned n = below(g, 16) == 0 ? below(g, 90) : below(g, 4);

	buf_addc(g->out, (char)('1' + below(g, 9)));
	while (n-- > 0)
		buf_addc(g->out, (char)('0' + below(g, 10)));
}

static void
make_number(struct generator *g)
{
	if (below(g, 3) == 0)
		buf_addc(g->out, '-');
	if (below(g, 5) == 0)
		buf_addc(g->out, '0');
	else
		make_digits(g);
	if (below(g, 3) == 0) {
		buf_adds(g->out, below(g, 2) ? ".0" : ".");
		make_digits(g);
	}
	if (below(g, 4) == 0) {
		buf_addc(g->out, "eE"[below(g, 2)]);
		buf_adds(g->out, (const char *[]){ "", "+", "-", "0" }[below(g, 4)]);
		make_digits(g);
	}
}

static void
make_text(struct generator *g)
{
	unsigned n = below(g, 20) == 0 ? below(g, 60) : below(g, 6);

	buf_addc(g->out, '"');
	while (n-- > 0) {
		if (below(g, 150) == 0)
			ADD_ONE_OF(g, bad_pieces);
		else
			ADD_ONE_OF(g, pieces);
	}
	buf_addc(g->out, '"');
}

static void
make_date(struct generator *g)
{
	buf_addc(g->out, '"');
	ADD_ONE_OF(g, dates);
	if (below(g, 8) > 0) {
		buf_addc(g->out, "TTTt "[below(g, 5)]);
		ADD_ONE_OF(g, times);
		ADD_ONE_OF(g, offsets);
	}
	buf_addc(g->out, '"');
}

static void
make_base64(struct generator *g)
{
	unsigned n = below(g, 12), padding = below(g, 3) > 0 ? (4 - n % 4) % 4 : below(g, 3);

	buf_addc(g->out, '"');
	while (n-- > 0)
		buf_addc(g->out, base64_digits[below(g, n == 0 ? 1 : sizeof base64_digits - 1)]);
	while (padding-- > 0)
		buf_addc(g->out, '=');
	buf_addc(g->out, '"');
}

static void
make_bits(struct generator *g)
{
	bool quoted = below(g, 2) == 0;

	buf_adds(g->out, quoted ? "\"" : "1");
	for (unsigned n = below(g, 10) == 0 ? below(g, 80) : below(g, 9); n > 0; n--)
		buf_addc(g->out, (char)('0' + below(g, 2)));
	buf_adds(g->out, quoted ? "\"" : "");
}

/* A key, and what mostly stands behind it; NULL: anything. */
static const struct key {
	const char *name;
	void (*make)(struct generator *g);
} keys[] = {
	{ "txt", make_text }, { "num", make_number }, { "flag", NULL }, { "doc", NULL }, { "moment", make_date }, { "day", make_date },
	{ "bits", make_bits }, { "bin", make_text }, { "b64", make_base64 }, { "list", NULL }, { "a", NULL }, { "b", NULL }, { "x", NULL }, { "", NULL },
};

/* Writes a key as it is, or with some of its characters escaped. */
static void
make_key(struct generator *g, const struct key *key)
{
	bool escaped = below(g, 12) == 0;

	if (below(g, 40) == 0) {
		make_text(g);
		return;
	}
	buf_addc(g->out, '"');
	for (const char *c = key->name; *c != '\0'; c++) {
		if (escaped && below(g, 2) == 0)
			buf_addf(g->out, below(g, 2) ? "\\u%04x" : "\\u%04X", (unsigned)*c);
		else
			buf_addc(g->out, *c);
	}
	buf_addc(g->out, '"');
}

static void
make_object(struct generator *g, unsigned depth)
{
	unsigned n = below(g, depth == 0 ? 8 : 4);

	buf_addc(g->out, '{');
	add_space(g);
	for (unsigned i = 0; i < n; i++) {
		const struct key *key = &keys[below(g, COUNT(keys))];
		if (i > 0)
			buf_addc(g->out, ',');
		add_space(g);
		make_key(g, key);
		add_space(g);
		buf_addc(g->out, ':');
		add_space(g);
		if (key->make != NULL && below(g, 3) > 0)
			key->make(g);
		else
			make_value(g, depth + 1);
		add_space(g);
	}
	buf_addc(g->out, '}');
}

static void
make_array(struct generator *g, unsigned depth)
{
	unsigned n = below(g, 4);

	buf_addc(g->out, '[');
	add_space(g);
	for (unsigned i = 0; i < n; i++) {
		if (i > 0)
			buf_addc(g->out, ',');
		add_space(g);
		make_value(g, depth + 1);
		add_space(g);
	}
	buf_addc(g->out, ']');
}

/* Around the depth that is just allowed. */
static void
make_deep(struct generator *g, unsigned depth)
{
	unsigned n = 27 + below(g, 8) - (depth > 10 ? 10 : depth), objects = below(g, 2);

	for (unsigned i = 0; i < n; i++)
		buf_adds(g->out, objects ? "{\"a\":" : "[");
	buf_adds(g->out, objects ? "{}" : "[]");
	for (unsigned i = 0; i < n; i++)
		buf_addc(g->out, objects ? '}' : ']');
}

static void
make_value(struct generator *g, unsigned depth)
{
	if (depth > 5 || below(g, 300) == 0) {
		ADD_ONE_OF(g, words);
		return;
	}
	if (below(g, 250) == 0) {
		ADD_ONE_OF(g, bad_words);
		return;
	}
	switch (below(g, 16)) {
	case 0: case 1: case 2: make_number(g); break;
	case 3: case 4: make_object(g, depth); break;
	case 5: case 6: make_array(g, depth); break;
	case 7: ADD_ONE_OF(g, words); break;
	case 8: make_date(g); break;
	case 9: make_base64(g); break;
	case 10: make_bits(g); break;
	case 11:
		if (below(g, 20) == 0)
			make_deep(g, depth);
		else
			ADD_ONE_OF(g, words);
		break;
	default: make_text(g);
	}
}

void
generate_message(unsigned seed, struct buf *out)
{
	struct generator g = { .state = seed * 2654435761u | 1, .out = out };

	for (unsigned i = 0; i < 4; i++) /* or seeds that are alike would begin alike */
		below(&g, 2);
	add_space(&g);
	if (below(&g, 100) == 0)
		make_value(&g, 0);
	else
		make_object(&g, 0);
	add_space(&g);
	ASSERT(out->len > 0 || seed != 0);
}
