/* One JSON message -> the values at the paths we want. Wraps simdjson (https://simdjson.org) in the tree's one C++ file.
 *
 * A message is one JSON object: RFC 8259, valid UTF-8, at most JSON_DEPTH_MAX deep. Everything in it is validated, wanted or not.
 */
#ifndef SLUICE_JSON_H
#define SLUICE_JSON_H

#include <stdbool.h>
#include <stddef.h>

#define JSON_DEPTH_MAX 32

#ifdef __cplusplus
extern "C" {
#endif

enum json_kind { JSON_ABSENT, JSON_NULL, JSON_STRING, JSON_NUMBER, JSON_TRUE, JSON_FALSE, JSON_OBJECT, JSON_ARRAY };

/* One value of a message. Both texts are valid until the next json_read() with the same reader (and while the message's bytes are); behind each
 * ARENA_PADDING bytes are readable. */
struct json_value {
	enum json_kind kind;
	const char *text; /* a string unescaped; everything else as `raw`. May hold NUL bytes if \u0000 was sent */
	size_t len;       /* bytes of text */
	const char *raw;  /* JSON text exactly as written, quotes included */
	size_t raw_len;   /* bytes of raw */
};

enum json_status {
	JSON_OK,
	JSON_NOT_JSON,      /* syntax error, empty, or something behind the object */
	JSON_NOT_OBJECT,    /* valid start of another kind of value */
	JSON_BAD_UTF8,      /* invalid UTF-8 */
	JSON_BAD_SURROGATE, /* a \u escape that is half a character */
	JSON_TOO_DEEP,      /* nested deeper than JSON_DEPTH_MAX */
	JSON_UNKNOWN_FIELD, /* reject_unknown, and a top-level key that no path wants */
};
/* A sentence for the dead letter, e.g. "invalid UTF-8". */
const char *json_status_text(enum json_status status);

struct json_paths;
struct json_reader;

/* Compiles n paths, each a list of keys ended by NULL; an empty list means the whole message. Paths may be prefixes of each other.
 * Nothing of the argument is kept. */
struct json_paths *json_paths_new(const char *const *const *paths, size_t n);
/* Frees; nulls the caller's pointer. */
void json_paths_free(struct json_paths **paths);

/* A reader with its own reused memory. */
struct json_reader *json_reader_new(void);
/* Frees; nulls the caller's pointer. */
void json_reader_free(struct json_reader **reader);

/* Reads text[0..len), behind which ARENA_PADDING (64) bytes are readable, and fills values[i] for path i; a path that is not there is JSON_ABSENT.
 * A key that stands twice: the last wins. On anything but JSON_OK, values are undefined and *where, if given, is the name of the offending field or
 * NULL (valid as the texts are, NUL-terminated, cut to 64 bytes). */
enum json_status json_read(struct json_reader *reader, const struct json_paths *paths, const char *text, size_t len, bool reject_unknown,
    struct json_value *values, const char **where);
/* Had the last message a top-level key that no path wants? */
bool json_met_unknown(const struct json_reader *reader);
/* Unescapes what stands between the quotes of a string that json_read() has accepted. `out` has room for len bytes; returns how many it became. */
size_t json_unescape(const char *inside, size_t len, char *out);
/* Walks the elements of an array that json_read() has accepted: *at is its `raw` at first, and moves on. The element is JSON text as written; objects
 * can be read by json_read() in turn. False: there is no further one. */
bool json_next(const char **at, const char **element, size_t *len);

#ifdef __cplusplus
}
#endif

#endif
