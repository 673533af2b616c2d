/* Numbers in a few characters; NAN is "-". */
#ifndef SLUICE_TOP_WORDS_H
#define SLUICE_TOP_WORDS_H

/* A short text, by value. */
struct words {
	char s[24]; /* NUL-terminated */
};

/* A number of things: "12345678", "123.4M". */
struct words words_count(double count);
/* Things a second: "0.3", "1234". */
struct words words_rate(double rate);
/* A stretch of time in the unit that suits it: "3.2 s", "12 min". */
struct words words_span(double seconds);
/* The local time of day of seconds since 1970. */
struct words words_clock(double time_s);

#endif
