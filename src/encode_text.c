/* Base64, ISO 8601 and array literals. */
#include "encode_text.h"

#include <string.h>
#include <time.h>

#include "buf.h"
#include "json.h"

enum { NO_DIGIT = -1, MINUTES_OF_DAY = 24 * 60, FRACTION_MAX = 6 };

/* What a base64 digit is worth, in either alphabet. */
static int
base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+' || c == '-')
		return 62;
	return c == '/' || c == '_' ? 63 : NO_DIGIT;
}

bool
text_from_base64(struct buf *out, const char *text, size_t len)
{
	size_t before = out->len;
	uint32_t bits = 0;
	unsigned n_bits = 0;
	size_t padding = 0;

	while (padding < 2 && len % 4 == 0 && len > padding && text[len - padding - 1] == '=')
		padding++;
	len -= padding;
	char *to = buf_reserve(out, len);
	for (size_t i = 0; i < len; i++) {
		int value = base64_value(text[i]);
		if (value == NO_DIGIT)
			return false;
		bits = bits << 6 | (uint32_t)value;
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			*to++ = (char)(bits >> n_bits & 0xff);
		}
	}
	/* A lone digit is not a byte, and bits left over must be zero, or two texts would mean the same bytes. */
	if (n_bits == 6 || (bits & ((1u << n_bits) - 1)) != 0)
		return false;
	out->len = (size_t)(to - out->data);
	ASSERT(out->len - before <= len);
	return true;
}

/* A point in time, taken apart. */
struct moment {
	int year, month, day;
	int minute;           /* of the day; outside of 0..1439 until normalised */
	int second;
	const char *fraction; /* digits as written, not owned */
	int fraction_len;
};

/* Text that is eaten from the left. */
struct cursor {
	const char *at;
	const char *end;
};

/* Eats exactly n digits that make a number within min..max. */
static bool
eat_number(struct cursor *c, int n, int min, int max, int *number)
{
	int value = 0;

	if (c->end - c->at < n)
		return false;
	for (int i = 0; i < n; i++) {
		if (c->at[i] < '0' || c->at[i] > '9')
			return false;
		value = value * 10 + (c->at[i] - '0');
	}
	c->at += n;
	*number = value;
	return value >= min && value <= max;
}

/* Eats one byte if it is one of `any`. */
static bool
eat(struct cursor *c, const char *any)
{
	for (; c->at < c->end && *any != '\0'; any++) {
		if (*c->at == *any) {
			c->at++;
			return true;
		}
	}
	return false;
}

static int
days_in_month(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	ASSERT(month >= 1 && month <= 12);
	return month == 2 && leap ? 29 : days[month - 1];
}

/* Eats `Z`, `+HH`, `+HHMM`, `+HH:MM` or nothing, and brings the moment to UTC. */
static bool
eat_offset(struct cursor *c, struct moment *m)
{
	int hours, minutes = 0;

	if (c->at == c->end || eat(c, "Zz"))
		return true;
	bool west = *c->at == '-';
	if (!eat(c, "+-") || !eat_number(c, 2, 0, 23, &hours))
		return false;
	if (c->at < c->end) {
		eat(c, ":");
		if (!eat_number(c, 2, 0, 59, &minutes))
			return false;
	}
	m->minute += (west ? 1 : -1) * (hours * 60 + minutes);
	return true;
}

static bool
eat_moment(struct cursor *c, struct moment *m)
{
	int hour, minute;

	if (!eat_number(c, 4, 0, 9999, &m->year) || !eat(c, "-") || !eat_number(c, 2, 1, 12, &m->month) || !eat(c, "-")
	    || !eat_number(c, 2, 1, days_in_month(m->year, m->month), &m->day))
		return false;
	if (!eat(c, "Tt ") || !eat_number(c, 2, 0, 23, &hour) || !eat(c, ":") || !eat_number(c, 2, 0, 59, &minute))
		return false;
	m->minute = hour * 60 + minute;
	if (eat(c, ":")) {
		if (!eat_number(c, 2, 0, 59, &m->second))
			return false;
		if (eat(c, ".")) {
			m->fraction = c->at;
			while (c->at < c->end && *c->at >= '0' && *c->at <= '9')
				c->at++;
			m->fraction_len = (int)(c->at - m->fraction);
			if (m->fraction_len == 0)
				return false;
		}
	}
	return eat_offset(c, m) && c->at == c->end;
}

/* Carries a minute before or after the day over to day, month and year; an offset is always shorter than a day. */
static void
normalise(struct moment *m)
{
	if (m->minute < 0) {
		m->minute += MINUTES_OF_DAY;
		if (--m->day == 0) {
			if (--m->month == 0) {
				m->month = 12;
				m->year--;
			}
			m->day = days_in_month(m->year, m->month);
		}
	} else if (m->minute >= MINUTES_OF_DAY) {
		m->minute -= MINUTES_OF_DAY;
		if (++m->day > days_in_month(m->year, m->month)) {
			m->day = 1;
			if (++m->month > 12) {
				m->month = 1;
				m->year++;
			}
		}
	}
	ASSERT(m->minute >= 0 && m->minute < MINUTES_OF_DAY);
}

/* Appends a number with leading zeros. */
static void
add_number(struct buf *out, int number, size_t digits, char behind)
{
	char *at = buf_reserve(out, digits + 1);

	ASSERT(number >= 0);
	for (size_t i = digits; i-- > 0; number /= 10)
		at[i] = (char)('0' + number % 10);
	ASSERT(number == 0);
	at[digits] = behind;
	out->len += digits + (behind != '\0');
}

static void
add_moment(struct buf *out, const struct moment *m, bool date_only)
{
	add_number(out, m->year, 4, '-');
	add_number(out, m->month, 2, '-');
	add_number(out, m->day, 2, date_only ? '\0' : ' ');
	if (date_only)
		return;
	add_number(out, m->minute / 60, 2, ':');
	add_number(out, m->minute % 60, 2, ':');
	add_number(out, m->second, 2, m->fraction_len > 0 ? '.' : '\0');
	buf_add(out, m->fraction, (size_t)(m->fraction_len > FRACTION_MAX ? FRACTION_MAX : m->fraction_len));
}

bool
text_from_iso(struct buf *out, const char *text, size_t len, bool date_only)
{
	struct cursor cursor = { .at = text, .end = text + len };
	struct moment moment = { 0 };

	if (!eat_moment(&cursor, &moment))
		return false;
	normalise(&moment);
	if (moment.year < 0 || moment.year > 9999)
		return false;
	add_moment(out, &moment, date_only);
	return true;
}

void
text_from_time(struct buf *out, int64_t time_us)
{
	time_t seconds = (time_t)(time_us / 1000000);
	struct tm tm;

	ASSERT(time_us >= 0);
	ASSERT(gmtime_r(&seconds, &tm) != NULL);
	add_number(out, tm.tm_year + 1900, 4, '-');
	add_number(out, tm.tm_mon + 1, 2, '-');
	add_number(out, tm.tm_mday, 2, ' ');
	add_number(out, tm.tm_hour, 2, ':');
	add_number(out, tm.tm_min, 2, ':');
	add_number(out, tm.tm_sec, 2, '.');
	add_number(out, (int)(time_us % 1000000), 6, '\0');
}

/* Appends an element of an array: always quoted, so that no text of it means something to the server. */
static void
add_element(struct buf *out, const char *text, size_t len)
{
	char *at = buf_reserve(out, 2 * len + 2), *start = at;

	*at++ = '"';
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '"' || text[i] == '\\')
			*at++ = '\\';
		*at++ = text[i];
	}
	*at++ = '"';
	out->len += (size_t)(at - start);
}

/* Bytes of the JSON string that begins at raw. */
static size_t
string_len(const char *raw, const char *end)
{
	const char *at = raw + 1;

	while (at < end && *at != '"')
		at += *at == '\\' ? 2 : 1;
	ASSERT(at < end);
	return (size_t)(at + 1 - raw);
}

/* Bytes of the JSON value, not an array, that begins at raw. */
static size_t
value_len(const char *raw, const char *end)
{
	const char *at = raw;
	size_t depth = 0;

	do {
		if (*at == '"') {
			at += string_len(at, end);
			continue;
		}
		if (depth == 0 && strchr(",] \t\r\n", *at) != NULL)
			break;
		depth += *at == '{' || *at == '[';
		depth -= *at == '}' || *at == ']';
		at++;
	} while (at < end && (depth > 0 || *raw != '{'));
	ASSERT(at > raw && depth == 0);
	return (size_t)(at - raw);
}

/* Appends the text of a JSON string as an element. The unescaped text stands for a moment at the end of `out`. */
static void
add_string(struct buf *out, const char *inside, size_t len)
{
	/* Room for text and element at once, so that the text stays where it is. */
	char *text = buf_reserve(out, 3 * len + 2) + 2 * len + 2;

	add_element(out, text, json_unescape(inside, len, text));
}

/* The shape of an array, as far as it is read. */
struct box {
	size_t depth;                        /* of the array under way */
	size_t deepest;                      /* of any so far */
	bool has_values;                     /* there was one; it stood in the deepest */
	size_t count[JSON_DEPTH_MAX + 1];    /* elements so far of the arrays under way, by depth */
	bool has_length[JSON_DEPTH_MAX + 1]; /* an array of that depth has ended, */
	size_t length[JSON_DEPTH_MAX + 1];   /* and was so long */
};

/* Each of these three returns whether it may still be a box. */
static bool
box_open(struct box *box)
{
	ASSERT(box->depth < JSON_DEPTH_MAX);
	box->count[box->depth++]++;
	box->count[box->depth] = 0;
	if (box->depth <= box->deepest)
		return true;
	box->deepest = box->depth;
	return !box->has_values;
}

static bool
box_close(struct box *box)
{
	size_t depth = box->depth--, n = box->count[depth];
	ASSERT(depth > 0);
	bool same = !box->has_length[depth] || box->length[depth] == n;
	box->has_length[depth] = true;
	box->length[depth] = n;
	return same;
}

static bool
box_value(struct box *box)
{
	box->count[box->depth]++;
	box->has_values = true;
	return box->depth == box->deepest;
}

bool
text_from_array(struct buf *out, const char *raw, size_t len)
{
	const char *end = raw + len;
	struct box box = { .depth = 0 };
	bool ok = true;

	ASSERT(len >= 2 && raw[0] == '[' && end[-1] == ']');
	while (raw < end && ok) {
		size_t n = 1;
		switch (*raw) {
		case '[':
			ok = box_open(&box);
			buf_addc(out, '{');
			break;
		case ']':
			ok = box_close(&box);
			buf_addc(out, '}');
			break;
		case ',': buf_addc(out, ','); break;
		case ' ': case '\t': case '\r': case '\n': break;
		case 'n':
			ok = box_value(&box);
			n = 4;
			buf_adds(out, "NULL");
			break;
		case '"':
			ok = box_value(&box);
			n = string_len(raw, end);
			add_string(out, raw + 1, n - 2);
			break;
		default:
			ok = box_value(&box);
			n = value_len(raw, end);
			add_element(out, raw, n);
		}
		raw += n;
	}
	return ok;
}
