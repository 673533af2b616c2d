/* RFC 3629. */
#include "utf8.h"

#include "check.h"

/* What may lead a character, and which second bytes keep it in its legal range; all later bytes are 80..BF. */
static const struct lead {
	unsigned char first, last;   /* lead bytes of this row */
	unsigned char low, high;     /* second bytes that may follow */
	unsigned char size;          /* of the character, in bytes */
} leads[] = {
	{ 0xc2, 0xdf, 0x80, 0xbf, 2 },
	{ 0xe0, 0xe0, 0xa0, 0xbf, 3 },
	{ 0xe1, 0xec, 0x80, 0xbf, 3 },
	{ 0xed, 0xed, 0x80, 0x9f, 3 },
	{ 0xee, 0xef, 0x80, 0xbf, 3 },
	{ 0xf0, 0xf0, 0x90, 0xbf, 4 },
	{ 0xf1, 0xf3, 0x80, 0xbf, 4 },
	{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
};

size_t
utf8_char(const char *s, size_t n)
{
	ASSERT(n > 0);
	const unsigned char *in = (const unsigned char *)s;
	if (in[0] < 0x80)
		return 1;
	const struct lead *lead = leads;
	while (in[0] < lead->first || in[0] > lead->last) {
		if (++lead == leads + sizeof leads / sizeof *leads)
			return 0;
	}
	if (n < lead->size || in[1] < lead->low || in[1] > lead->high)
		return 0;
	for (size_t i = 2; i < lead->size; i++) {
		if ((in[i] & 0xc0) != 0x80)
			return 0;
	}
	return lead->size;
}

bool
utf8_valid(const char *s, size_t n)
{
	for (size_t at = 0, size; at < n; at += size) {
		size = utf8_char(s + at, n - at);
		if (size == 0)
			return false;
	}
	return true;
}
