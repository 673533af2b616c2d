/* Walks a message once, validates all of it and picks up the values that the paths ask for.
 *
 * simdjson finds the tokens and checks UTF-8, quotes and control characters; On Demand checks the brackets, commas and colons that the walk steps
 * over. It does not look into numbers, literals and escapes that nobody asks for, so all of those are checked here.
 */
#include "json.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

extern "C" {
#include "arena.h"
#include "check.h"
}

#define SIMDJSON_EXCEPTIONS 0
#include <simdjson.h>

namespace ondemand = simdjson::ondemand;

static_assert(ARENA_PADDING >= simdjson::SIMDJSON_PADDING, "simdjson would read behind what arena_alloc() promises");

namespace {

constexpr size_t NO_PATH = SIZE_MAX;
constexpr size_t WHERE_MAX = 64;

/* One key of the paths; together they are a tree, so that paths with the same beginning share it. */
struct node {
	std::string key;       /* "" for the root */
	bool plain = true;     /* the key stands in JSON as it is: no quote, no backslash */
	size_t path = NO_PATH; /* the path that ends here */
	std::unordered_map<std::string_view, std::unique_ptr<node>> children; /* by their own `key` */
	/* Guesses from the message before; checked before they are believed. Messages of a queue mostly have their keys in one order. */
	mutable const node *first = nullptr; /* the first wanted key in this object */
	mutable const node *next = nullptr;  /* the wanted key behind this one */
};

} // namespace

struct json_paths {
	node root;
	size_t n = 0; /* paths */
	std::vector<std::pair<size_t, size_t>> twins; /* the first path is the same as the second */
};

struct json_reader {
	ondemand::parser parser;
	std::unique_ptr<char[]> strings; /* unescaped strings of the message */
	size_t capacity = 0;             /* bytes of a message that parser and `strings` have room for */
	char where[WHERE_MAX + 1];       /* name of the field that an error is about */
};

namespace {

bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

std::string_view
trim_end(std::string_view s)
{
	while (!s.empty() && is_space(s.back()))
		s.remove_suffix(1);
	return s;
}

/* Skips digits from `i` on; false if there is none. */
bool
skip_digits(std::string_view s, size_t &i)
{
	size_t start = i;

	while (i < s.size() && is_digit(s[i]))
		i++;
	return i > start;
}

bool
is_number(std::string_view s)
{
	size_t i = !s.empty() && s[0] == '-';

	if (i < s.size() && s[i] == '0')
		i++;
	else if (!skip_digits(s, i))
		return false;
	if (i < s.size() && s[i] == '.' && !skip_digits(s, ++i))
		return false;
	if (i < s.size() && (s[i] == 'e' || s[i] == 'E')) {
		i++;
		if (i < s.size() && (s[i] == '+' || s[i] == '-'))
			i++;
		if (!skip_digits(s, i))
			return false;
	}
	return i == s.size();
}

/* The four hex digits of a \u escape at s[i], or UINT32_MAX. */
uint32_t
hex4(std::string_view s, size_t i)
{
	uint32_t code = 0;

	if (i + 4 > s.size())
		return UINT32_MAX;
	for (char c : s.substr(i, 4)) {
		uint32_t digit = is_digit(c) ? uint32_t(c - '0') : uint32_t((c | 0x20) - 'a') + 10;
		if (digit > 15 || (!is_digit(c) && (c | 0x20) < 'a'))
			return UINT32_MAX;
		code = code << 4 | digit;
	}
	return code;
}

/* Writes a character as UTF-8; never longer than its escape was. */
char *
put_utf8(char *out, uint32_t code)
{
	if (code < 0x80) {
		*out++ = char(code);
	} else if (code < 0x800) {
		*out++ = char(0xc0 | code >> 6);
		*out++ = char(0x80 | (code & 0x3f));
	} else if (code < 0x10000) {
		*out++ = char(0xe0 | code >> 12);
		*out++ = char(0x80 | (code >> 6 & 0x3f));
		*out++ = char(0x80 | (code & 0x3f));
	} else {
		*out++ = char(0xf0 | code >> 18);
		*out++ = char(0x80 | (code >> 12 & 0x3f));
		*out++ = char(0x80 | (code >> 6 & 0x3f));
		*out++ = char(0x80 | (code & 0x3f));
	}
	return out;
}

/* The \u escape whose digits begin at s[i]; moves i behind it, or behind its pair. */
enum json_status
unescape_u(std::string_view s, size_t &i, char *&out)
{
	uint32_t code = hex4(s, i);

	if (code == UINT32_MAX)
		return JSON_NOT_JSON;
	i += 4;
	if (code >= 0xd800 && code < 0xe000) {
		uint32_t low = s.substr(i, 2) == "\\u" ? hex4(s, i + 2) : UINT32_MAX;
		if (code >= 0xdc00 || low < 0xdc00 || low > 0xdfff)
			return JSON_BAD_SURROGATE;
		i += 6;
		code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
	}
	out = put_utf8(out, code);
	return JSON_OK;
}

/* Unescapes the inside of a string to `out`, which it moves on. */
enum json_status
unescape(std::string_view s, char *&out)
{
	static const char escaped[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";

	for (size_t i = 0; i < s.size();) {
		const void *slash = memchr(s.data() + i, '\\', s.size() - i);
		size_t end = slash ? size_t(static_cast<const char *>(slash) - s.data()) : s.size();

		memcpy(out, s.data() + i, end - i);
		out += end - i;
		i = end + 2;
		if (!slash)
			break;
		if (i > s.size())
			return JSON_NOT_JSON;
		if (s[i - 1] == 'u') {
			if (enum json_status status = unescape_u(s, i, out))
				return status;
			continue;
		}
		const void *known = memchr(escaped, s[i - 1], sizeof escaped - 1);
		if (!known)
			return JSON_NOT_JSON;
		*out++ = meant[static_cast<const char *>(known) - escaped];
	}
	return JSON_OK;
}

/* The walk through one message. */
class walker {
public:
	walker(const json_reader &reader, std::string_view message, bool reject, json_value *into)
	    : end(message.data() + message.size()), strings(reader.strings.get()), reject_unknown(reject), values(into)
	{
	}

	enum json_status object(ondemand::object &object, const node *want, int depth);

	std::string_view field = {}; /* raw name of the top-level field under way */
	std::string_view unknown = {}; /* raw name of the first top-level field that nobody wants */

private:
	const char *end;     /* of the message: tokens behind it are not its own */
	char *strings;       /* where the next unescaped string goes */
	bool reject_unknown;
	json_value *values;

	const node *guess(const char *key, const node *candidate);
	enum json_status key(ondemand::field &field, const node *want, const node *candidate, int depth, const node **found);
	enum json_status value(ondemand::value value, const node *want, int depth);
	enum json_status array(ondemand::array &array, int depth);
	enum json_status container(ondemand::value &value, const node *want, int depth, json_value *result);
	enum json_status string(ondemand::value &value, std::string_view raw, json_value *result);
	void clear(const node *want);
};

/* Forgets what an earlier field of the same name has brought. */
void
walker::clear(const node *want)
{
	for (const auto &child : want->children) {
		if (child.second->path != NO_PATH)
			values[child.second->path].kind = JSON_ABSENT;
		clear(child.second.get());
	}
}

/* Is the raw key that of the candidate? Spares looking for its end and hashing it. */
const node *
walker::guess(const char *key, const node *candidate)
{
	if (!candidate || !candidate->plain || candidate->key.size() >= size_t(end - key))
		return nullptr;
	size_t n = candidate->key.size();
	return memcmp(key, candidate->key.data(), n) == 0 && key[n] == '"' ? candidate : nullptr;
}

/* Finds the node that a field's key stands for, nullptr if nobody wants it. */
enum json_status
walker::key(ondemand::field &from, const node *want, const node *candidate, int depth, const node **found)
{
	const char *raw = from.key().raw();
	const char *p = raw;
	bool escaped = false;

	if (raw >= end)
		return JSON_NOT_JSON;
	*found = guess(raw, candidate);
	if (*found)
		p += candidate->key.size();
	for (; *p != '"'; p++) {
		if (*p == '\\') {
			escaped = true;
			p++;
		}
	}
	std::string_view text(raw, size_t(p - raw));
	if (depth == 1)
		field = text;
	if (*found)
		return JSON_OK;
	if (escaped) {
		char *start = strings;
		if (enum json_status status = unescape(text, strings))
			return status;
		text = std::string_view(start, size_t(strings - start));
	}
	if (want) {
		auto child = want->children.find(text);
		*found = child != want->children.end() ? child->second.get() : nullptr;
	}
	if (!*found && depth == 1 && reject_unknown && !unknown.data())
		unknown = field;
	return JSON_OK;
}

enum json_status
walker::object(ondemand::object &object, const node *want, int depth)
{
	const node *before = nullptr;

	for (auto result : object) {
		ondemand::field from;
		const node *found, *candidate = before ? before->next : want ? want->first : nullptr;

		if (std::move(result).get(from))
			return JSON_NOT_JSON;
		if (enum json_status status = key(from, want, candidate, depth, &found))
			return status;
		if (found) {
			if (found != candidate)
				(before ? before->next : want->first) = found;
			before = found;
		}
		if (enum json_status status = value(from.value(), found, depth))
			return status;
	}
	return JSON_OK;
}

enum json_status
walker::array(ondemand::array &array, int depth)
{
	for (auto result : array) {
		ondemand::value element;

		if (std::move(result).get(element))
			return JSON_NOT_JSON;
		if (enum json_status status = value(element, nullptr, depth))
			return status;
	}
	return JSON_OK;
}

/* An object or array; its raw text ends where the token behind it begins, or a bit earlier. */
enum json_status
walker::container(ondemand::value &value, const node *want, int depth, json_value *result)
{
	ondemand::object inner;
	ondemand::array list;
	const char *behind;
	enum json_status status;

	if (depth >= JSON_DEPTH_MAX)
		return JSON_TOO_DEEP;
	if (result->kind == JSON_OBJECT)
		status = value.get_object().get(inner) ? JSON_NOT_JSON : object(inner, want, depth + 1);
	else
		status = value.get_array().get(list) ? JSON_NOT_JSON : array(list, depth + 1);
	if (status)
		return status;
	if (value.current_location().get(behind) || behind > end)
		return JSON_NOT_JSON;
	result->raw_len = trim_end(std::string_view(result->raw, size_t(behind - result->raw))).size();
	result->text = result->raw;
	result->len = result->raw_len;
	return JSON_OK;
}

/* Takes the string itself: skipping one would let simdjson 3.0 take `"a":` for a field in the place of a value. */
enum json_status
walker::string(ondemand::value &value, std::string_view raw, json_value *result)
{
	if (raw.size() < 2 || raw.back() != '"' || value.get_raw_json_string().error())
		return JSON_NOT_JSON;
	std::string_view inside = raw.substr(1, raw.size() - 2);
	result->text = inside.data();
	result->len = inside.size();
	if (!memchr(inside.data(), '\\', inside.size()))
		return JSON_OK;
	result->text = strings;
	enum json_status status = unescape(inside, strings);
	result->len = size_t(strings - result->text);
	return status;
}

enum json_status
walker::value(ondemand::value value, const node *want, int depth)
{
	std::string_view raw = value.raw_json_token();
	enum json_status status = JSON_OK;

	if (raw.data() >= end)
		return JSON_NOT_JSON;
	raw = trim_end(raw);
	json_value result = { JSON_NUMBER, raw.data(), raw.size(), raw.data(), raw.size() };
	if (want && !want->children.empty())
		clear(want);
	switch (raw.empty() ? '\0' : raw[0]) {
	case '{':
	case '[':
		result.kind = raw[0] == '{' ? JSON_OBJECT : JSON_ARRAY;
		status = container(value, want, depth, &result);
		break;
	case '"':
		result.kind = JSON_STRING;
		status = string(value, raw, &result);
		break;
	case 't':
		result.kind = JSON_TRUE;
		status = raw == "true" ? JSON_OK : JSON_NOT_JSON;
		break;
	case 'f':
		result.kind = JSON_FALSE;
		status = raw == "false" ? JSON_OK : JSON_NOT_JSON;
		break;
	case 'n':
		result.kind = JSON_NULL;
		status = raw == "null" ? JSON_OK : JSON_NOT_JSON;
		break;
	default:
		status = is_number(raw) ? JSON_OK : JSON_NOT_JSON;
	}
	if (want && want->path != NO_PATH)
		values[want->path] = result;
	return status;
}

/* Room for a message of len bytes, growing in steps: messages are of all sizes. */
void
reserve(json_reader &reader, size_t len)
{
	size_t capacity = reader.capacity ? reader.capacity : 4096;

	while (capacity < len)
		capacity *= 2;
	if (capacity == reader.capacity)
		return;
	ASSERT(reader.parser.allocate(capacity) == simdjson::SUCCESS);
	reader.strings.reset(new char[capacity]);
	reader.capacity = capacity;
}

/* What a message is that does not begin with a brace. */
enum json_status
not_object(char first)
{
	return first == '[' || first == '"' || first == '-' || first == 't' || first == 'f' || first == 'n' || is_digit(first)
	    ? JSON_NOT_OBJECT : JSON_NOT_JSON;
}

enum json_status
walk(json_reader &reader, const json_paths &paths, std::string_view message, walker &walker, json_value *values)
{
	ondemand::document document;
	ondemand::object object;
	const char *behind;

	if (message.empty() || message[0] != '{')
		return message.empty() ? JSON_NOT_JSON : not_object(message[0]);
	if (reader.parser.iterate(message.data(), message.size(), message.size() + ARENA_PADDING).get(document))
		return JSON_NOT_JSON;
	if (document.get_object().get(object))
		return JSON_NOT_JSON;
	if (enum json_status status = walker.object(object, &paths.root, 1))
		return status;
	walker.field = {};
	if (document.current_location().get(behind) != simdjson::OUT_OF_BOUNDS)
		return JSON_NOT_JSON;
	if (walker.unknown.data()) {
		walker.field = walker.unknown;
		return JSON_UNKNOWN_FIELD;
	}
	if (paths.root.path != NO_PATH)
		values[paths.root.path] = { JSON_OBJECT, message.data(), message.size(), message.data(), message.size() };
	return JSON_OK;
}

/* Keeps a field's name, cut between two characters. */
const char *
keep_where(json_reader &reader, std::string_view field)
{
	size_t n = field.size();

	if (!field.data())
		return nullptr;
	if (n > WHERE_MAX) {
		n = WHERE_MAX;
		while (n > 0 && (field[n] & 0xc0) == 0x80)
			n--;
	}
	memcpy(reader.where, field.data(), n);
	reader.where[n] = '\0';
	return reader.where;
}

} // namespace

const char *
json_status_text(enum json_status status)
{
	static const char *const texts[] = {
		"no error", "not JSON", "not a JSON object", "invalid UTF-8", "half a surrogate pair in a \\u escape", "nested too deeply",
		"unknown field",
	};

	ASSERT(status >= JSON_OK && size_t(status) < sizeof texts / sizeof texts[0]);
	return texts[status];
}

struct json_paths *
json_paths_new(const char *const *const *list, size_t n)
{
	json_paths *paths = new json_paths;

	paths->n = n;
	for (size_t i = 0; i < n; i++) {
		node *at = &paths->root;

		for (const char *const *key = list[i]; *key; key++) {
			auto known = at->children.find(*key);
			if (known != at->children.end()) {
				at = known->second.get();
				continue;
			}
			auto child = std::make_unique<node>();
			node *below = child.get();
			below->key = *key;
			below->plain = below->key.find_first_of("\"\\") == std::string::npos;
			at->children.emplace(below->key, std::move(child));
			at = below;
		}
		if (at->path == NO_PATH)
			at->path = i;
		else
			paths->twins.emplace_back(i, at->path);
	}
	return paths;
}

void
json_paths_free(struct json_paths **paths)
{
	ASSERT(paths);
	delete *paths;
	*paths = nullptr;
}

struct json_reader *
json_reader_new(void)
{
	return new json_reader;
}

void
json_reader_free(struct json_reader **reader)
{
	ASSERT(reader);
	delete *reader;
	*reader = nullptr;
}

size_t
json_unescape(const char *inside, size_t len, char *out)
{
	char *end = out;
	enum json_status status = unescape(std::string_view(inside, len), end);

	ASSERT(status == JSON_OK);
	return size_t(end - out);
}

enum json_status
json_read(struct json_reader *reader, const struct json_paths *paths, const char *text, size_t len, bool reject_unknown, struct json_value *values,
    const char **where)
{
	ASSERT(reader && paths && (text || len == 0));
	ASSERT(values || paths->n == 0);
	std::string_view message = trim_end(std::string_view(text, len));
	while (!message.empty() && is_space(message[0]))
		message.remove_prefix(1);
	for (size_t i = 0; i < paths->n; i++)
		values[i].kind = JSON_ABSENT;

	/* `$` alone takes the whole message: nothing in it is unknown. */
	bool whole = paths->root.path != NO_PATH && paths->root.children.empty();
	reserve(*reader, message.size());
	walker walker(*reader, message, reject_unknown && !whole, values);
	enum json_status status = walk(*reader, *paths, message, walker, values);

	if (status != JSON_OK && !simdjson::validate_utf8(text, len)) {
		status = JSON_BAD_UTF8;
		walker.field = {};
	}
	for (const auto &twin : paths->twins)
		values[twin.first] = values[twin.second];
	if (where)
		*where = status == JSON_OK ? nullptr : keep_where(*reader, walker.field);
	return status;
}
