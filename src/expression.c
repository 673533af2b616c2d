/* Expressions of `column.NAME =` lines. */
#include "expression.h"

#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "json.h"

/* The expressions that are one word. */
static const struct word {
	const char *text;
	enum value_source from;
} words[] = {
	{ "@now", FROM_NOW },
	{ "@queue", FROM_QUEUE },
	{ "@position", FROM_POSITION },
};

static const char base64_open[] = "base64(";

/* Appends a key to an expression's path. */
static void
add_key(struct expression *expression, char *key)
{
	size_t n = 0;

	ASSERT(expression->keys != NULL && key != NULL);
	while (expression->keys[n] != NULL)
		n++;
	expression->keys = xrealloc(expression->keys, (n + 2) * sizeof *expression->keys);
	expression->keys[n] = key;
	expression->keys[n + 1] = NULL;
}

/* `.key`: up to the next dot or bracket. NULL: there is none. */
static const char *
dot_key(const char *at, const char *end, struct expression *expression)
{
	size_t n = 0;

	ASSERT(*at == '.');
	for (at++; at + n < end && at[n] != '.' && at[n] != '['; n++)
		;
	if (n == 0)
		return NULL;
	char *key = xcalloc(n + 1, 1);
	memcpy(key, at, n);
	add_key(expression, key);
	return at + n;
}

/* `['key']`, where a backslash takes the next character as it is. NULL: it does not end. */
static const char *
bracket_key(const char *at, const char *end, struct expression *expression)
{
	ASSERT(at[0] == '[' && at[1] == '\'');
	char *key = xcalloc((size_t)(end - at), 1), *out = key;

	for (at += 2; at < end && *at != '\''; at++) {
		if (*at == '\\' && at + 1 < end)
			at++;
		*out++ = *at;
	}
	if (end - at < 2 || at[1] != ']') {
		free(key);
		return NULL;
	}
	add_key(expression, key);
	return at + 2;
}

/* `$` and the keys behind it. */
static bool
parse_path(const char *at, const char *end, struct expression *expression)
{
	if (at == end || *at != '$')
		return false;
	expression->keys = xcalloc(1, sizeof *expression->keys);
	at++;
	while (at != NULL && at < end) {
		if (*at == '.')
			at = dot_key(at, end, expression);
		else if (at[0] == '[' && at[1] == '\'')
			at = bracket_key(at, end, expression);
		else
			at = NULL;
	}
	return at != NULL;
}

static bool
too_deep(const struct expression *expression)
{
	size_t n = 0;

	while (expression->keys[n] != NULL)
		n++;
	return n > JSON_DEPTH_MAX;
}

bool
expression_parse(const char *text, struct expression *expression, struct buf *why)
{
	size_t len = strlen(text), open = strlen(base64_open);

	ASSERT(expression != NULL && why != NULL);
	*expression = (struct expression){ .from = FROM_MESSAGE };
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
		if (strcmp(text, words[i].text) == 0) {
			expression->from = words[i].from;
			return true;
		}
	}
	bool base64 = strncmp(text, base64_open, open) == 0 && text[len - 1] == ')';
	if (base64)
		expression->from = FROM_BASE64;
	if (!parse_path(base64 ? text + open : text, text + len - base64, expression)) {
		buf_addf(why, "\"%s\" is not an expression: write $, $.key, $.outer.inner, $['a.b'], base64($.key), @now, @queue or @position", text);
		return false;
	}
	if (base64 && expression->keys[0] == NULL) {
		buf_adds(why, "base64($) has no value to decode: name a key, base64($.key)");
		return false;
	}
	if (too_deep(expression)) {
		buf_addf(why, "\"%s\" is deeper than a message may be (%d)", text, JSON_DEPTH_MAX);
		return false;
	}
	return true;
}

struct expression
expression_of_key(const char *key)
{
	struct expression expression = { .from = FROM_MESSAGE, .keys = xcalloc(1, sizeof(char *)) };

	add_key(&expression, xstrdup(key));
	return expression;
}

void
expression_free(struct expression *expression)
{
	ASSERT(expression != NULL);
	for (char **key = expression->keys; key != NULL && *key != NULL; key++)
		free(*key);
	free(expression->keys);
	expression->keys = NULL;
}
