/* Walks a message once, validates all of it and picks up the values that the paths ask for.
 *
 * simdjson's first stage, which is made for each kind of CPU, finds where the tokens begin: brackets, commas, colons, strings, and runs of anything
 * else. It checks UTF-8, that strings are closed and that no control character is in them. What it does not check is checked here: the grammar,
 * numbers, literals and escapes.
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

static_assert(ARENA_PADDING >= simdjson::SIMDJSON_PADDING, "simdjson would read behind what arena_alloc() promises");

namespace {

constexpr size_t NO_PATH = SIZE_MAX;
constexpr size_t WHERE_MAX = 64;

/* A key as it mostly stands in a message: each character itself, and the quote behind it. Compared in words, which are fewer than the instructions of a
 * call. */
class written_key {
public:
	explicit written_key(const std::string &key);
	/* Does it stand there? The text is what follows the opening quote of a closed string, with 8 bytes more. */
	bool stands_at(const char *inside) const;

private:
	std::vector<uint64_t> words; /* the last one filled with zeros; none for a key that must be escaped */
	uint64_t last = 0;           /* the bytes of the last word that count */
};

/* One key of the paths; together they are a tree, so that paths with the same beginning share it. */
struct node {
	explicit node(const char *name) : key(name), written(key) {}

	std::string key;       /* "" for the root */
	written_key written;   /* the same */
	size_t path = NO_PATH; /* the path that ends here */
	std::unordered_map<std::string_view, std::unique_ptr<node>> children; /* by their own `key` */
	/* Guesses from the message before; checked before they are believed. Messages of a queue mostly have their keys in one order. */
	mutable const node *first = nullptr; /* the first wanted key in this object */
	mutable const node *next = nullptr;  /* the wanted key behind this one */
};

} // namespace

struct json_paths {
	node root{ "" };
	size_t n = 0; /* paths */
	std::vector<std::pair<size_t, size_t>> twins; /* the first path is the same as the second */
};

struct json_reader {
	std::unique_ptr<simdjson::internal::dom_parser_implementation> scanner; /* finds the tokens */
	std::unique_ptr<char[]> strings; /* unescaped strings of the message; ARENA_PADDING bytes more than `capacity` */
	size_t capacity = 0;             /* bytes of a message that both have room for */
	bool met_unknown = false;        /* the last message had a top-level field that nobody wants */
	char where[WHERE_MAX + 1];       /* name of the field that an error is about */
};

namespace {

written_key::written_key(const std::string &key)
{
	std::string text = key + '"';

	if (key.find_first_of("\"\\") != key.npos)
		return;
	words.resize((text.size() + sizeof last - 1) / sizeof last);
	memcpy(words.data(), text.data(), text.size());
	memset(&last, 0xff, text.size() - (words.size() - 1) * sizeof last);
}

inline bool
written_key::stands_at(const char *inside) const
{
	uint64_t there = 0;
	size_t n = words.size();

	for (size_t i = 0; i < n; i++) {
		memcpy(&there, inside + i * sizeof there, sizeof there);
		if ((there ^ words[i]) & (i + 1 < n ? UINT64_MAX : last))
			return false;
	}
	return n > 0;
}

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

/* Where the digits at p end; nullptr if there is none. */
const char *
skip_digits(const char *p)
{
	if (!is_digit(*p))
		return nullptr;
	while (is_digit(*p))
		p++;
	return p;
}

/* Where the number at p ends; nullptr if there is none. A message ends with a brace, so no bounds need watching. */
const char *
skip_number(const char *p)
{
	p += *p == '-';
	p = *p == '0' ? p + 1 : skip_digits(p);
	if (p && *p == '.')
		p = skip_digits(p + 1);
	if (p && (*p == 'e' || *p == 'E')) {
		p++;
		p = skip_digits(p + (*p == '+' || *p == '-'));
	}
	return p;
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

/* The walk through one message, which begins and ends with a brace. */
class walker {
public:
	walker(std::string_view message, const uint32_t *first_token, char *room, json_value *into)
	    : token(first_token), text(message.data()), end(message.data() + message.size()), strings(room), values(into)
	{
		find_escape(text);
	}

	/* The object whose brace has been taken. */
	enum json_status object(const node *want, int depth);
	/* What stands between the quotes of the string at this token. */
	std::string_view inside(const uint32_t *at) const;

	const uint32_t *token;             /* where in the message the next token begins; behind that, those of all later ones */
	const uint32_t *field = nullptr;   /* the token that names the top-level field under way */
	const uint32_t *unknown = nullptr; /* the token that names the first top-level field that nobody wants */

private:
	const char *text;   /* the message */
	const char *end;    /* where it ends */
	const char *escape; /* the first backslash that is not behind us, or `end` */
	char *strings;      /* where the next unescaped string goes */
	json_value *values;
	json_value unwanted; /* takes values that no path wants */

	const char *take() { return text + *token++; } /* the next token */
	void find_escape(const char *from);
	enum json_status understand(std::string_view &string);
	enum json_status key(const node *want, const node *candidate, int depth, const node *&found);
	[[gnu::always_inline]] enum json_status value(const node *want, int depth); /* a call would take as long as what it does for most */
	enum json_status array(int depth);
	enum json_status container(const char *start, const node *want, int depth, json_value &result);
	enum json_status string(const char *start, json_value &result);
	enum json_status scalar(const char *start, const char *behind, enum json_kind kind, json_value &result) const;
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

void
walker::find_escape(const char *from)
{
	const void *found = memchr(from, '\\', size_t(end - from));

	escape = found ? static_cast<const char *>(found) : end;
}

/* Nothing but white space stands between the closing quote and the next token. */
inline std::string_view
walker::inside(const uint32_t *at) const
{
	const char *start = text + at[0], *quote = text + at[1] - 1;

	while (*quote != '"')
		quote--;
	ASSERT(quote > start);
	return std::string_view(start + 1, size_t(quote - start - 1));
}

/* Replaces the inside of a string by what it means. Most have no escape and mean themselves. */
inline enum json_status
walker::understand(std::string_view &string)
{
	const char *behind = string.data() + string.size();

	if (behind <= escape)
		return JSON_OK;
	ASSERT(escape >= string.data());
	char *start = strings;
	enum json_status status = unescape(string, strings);
	string = std::string_view(start, size_t(strings - start));
	find_escape(behind);
	return status;
}

/* Takes a key and its colon, and finds the node that the key stands for, nullptr if nobody wants it. */
enum json_status
walker::key(const node *want, const node *candidate, int depth, const node *&found)
{
	const uint32_t *at = token;

	if (*take() != '"')
		return JSON_NOT_JSON;
	if (depth == 1)
		field = at;
	if (candidate && candidate->written.stands_at(text + *at + 1)) {
		found = candidate;
		return *take() == ':' ? JSON_OK : JSON_NOT_JSON;
	}
	std::string_view name = inside(at);
	if (enum json_status status = understand(name))
		return status;
	if (*take() != ':')
		return JSON_NOT_JSON;
	found = nullptr;
	if (want) {
		auto child = want->children.find(name);
		if (child != want->children.end())
			found = child->second.get();
		else if (depth == 1 && !unknown)
			unknown = at;
	}
	return JSON_OK;
}

enum json_status
walker::object(const node *want, int depth)
{
	const node *before = nullptr;

	if (text[*token] == '}') {
		token++;
		return JSON_OK;
	}
	for (;;) {
		const node *found, *candidate = before ? before->next : want ? want->first : nullptr;

		if (enum json_status status = key(want, candidate, depth, found))
			return status;
		if (found) {
			if (found != candidate)
				(before ? before->next : want->first) = found;
			before = found;
		}
		if (enum json_status status = value(found, depth))
			return status;
		char behind = *take();
		if (behind != ',')
			return behind == '}' ? JSON_OK : JSON_NOT_JSON;
	}
}

enum json_status
walker::array(int depth)
{
	if (text[*token] == ']') {
		token++;
		return JSON_OK;
	}
	for (;;) {
		if (enum json_status status = value(nullptr, depth))
			return status;
		char behind = *take();
		if (behind != ',')
			return behind == ']' ? JSON_OK : JSON_NOT_JSON;
	}
}

enum json_status
walker::string(const char *start, json_value &result)
{
	std::string_view string = inside(token - 1);
	size_t raw_len = string.size() + 2;
	enum json_status status = understand(string);

	result = { JSON_STRING, string.data(), string.size(), start, raw_len };
	return status;
}

enum json_status
walker::container(const char *start, const node *want, int depth, json_value &result)
{
	bool is_object = *start == '{';

	if (depth >= JSON_DEPTH_MAX)
		return JSON_TOO_DEEP;
	enum json_status status = is_object ? object(want, depth + 1) : array(depth + 1);
	size_t len = size_t(text + token[-1] + 1 - start);
	result = { is_object ? JSON_OBJECT : JSON_ARRAY, start, len, start, len };
	return status;
}

/* What is no string and no container: it ends where its token does, at white space or the next token. */
enum json_status
walker::scalar(const char *start, const char *behind, enum json_kind kind, json_value &result) const
{
	if (!behind || (behind != text + *token && !is_space(*behind)))
		return JSON_NOT_JSON;
	size_t len = size_t(behind - start);
	result = { kind, start, len, start, len };
	return JSON_OK;
}

inline enum json_status
walker::value(const node *want, int depth)
{
	const char *start = take();
	json_value &result = want && want->path != NO_PATH ? values[want->path] : unwanted;

	if (want && !want->children.empty())
		clear(want);
	switch (*start) {
	case '{':
	case '[':
		return container(start, want, depth, result);
	case '"':
		return string(start, result);
	case 't':
		return scalar(start, memcmp(start, "true", 4) == 0 ? start + 4 : nullptr, JSON_TRUE, result);
	case 'f':
		return scalar(start, memcmp(start, "false", 5) == 0 ? start + 5 : nullptr, JSON_FALSE, result);
	case 'n':
		return scalar(start, memcmp(start, "null", 4) == 0 ? start + 4 : nullptr, JSON_NULL, result);
	default:
		return scalar(start, skip_number(start), JSON_NUMBER, result);
	}
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
	auto &cpu = simdjson::get_active_implementation();
	ASSERT(cpu->create_dom_parser_implementation(capacity, JSON_DEPTH_MAX, reader.scanner) == simdjson::SUCCESS);
	reader.strings.reset(new char[capacity + ARENA_PADDING]());
	reader.capacity = capacity;
}

/* What a message is that does not begin with a brace. */
enum json_status
not_object(char first)
{
	return first == '[' || first == '"' || first == '-' || first == 't' || first == 'f' || first == 'n' || is_digit(first)
	    ? JSON_NOT_OBJECT : JSON_NOT_JSON;
}

/* Finds the tokens of a message that begins with a brace. The last must be a brace too; behind it a token is put that may stand behind no value, the
 * first brace again. So the walk stops in time by the grammar alone. */
const uint32_t *
scan(json_reader &reader, std::string_view message)
{
	auto &scanner = *reader.scanner;
	const uint8_t *bytes = reinterpret_cast<const uint8_t *>(message.data());

	if (scanner.stage1(bytes, message.size(), simdjson::stage1_mode::regular))
		return nullptr;
	uint32_t *tokens = scanner.structural_indexes.get(), n = scanner.n_structural_indexes;
	ASSERT(n > 0 && tokens[0] == 0 && tokens[n - 1] < message.size());
	tokens[n] = 0;
	return message[tokens[n - 1]] == '}' ? tokens : nullptr;
}

/* Fills `values`; *field becomes the name of the field that an error is about. */
enum json_status
walk(json_reader &reader, const json_paths &paths, std::string_view message, bool reject_unknown, json_value *values, std::string_view *field)
{
	if (message.empty() || message[0] != '{')
		return message.empty() ? JSON_NOT_JSON : not_object(message[0]);
	const uint32_t *tokens = scan(reader, message);
	if (!tokens)
		return JSON_NOT_JSON;
	walker walker(message, tokens + 1, reader.strings.get(), values);
	if (enum json_status status = walker.object(&paths.root, 1)) {
		if (walker.field)
			*field = walker.inside(walker.field);
		return status;
	}
	if (walker.token != tokens + reader.scanner->n_structural_indexes)
		return JSON_NOT_JSON;
	reader.met_unknown = walker.unknown != nullptr;
	if (walker.unknown && reject_unknown) {
		*field = walker.inside(walker.unknown);
		return JSON_UNKNOWN_FIELD;
	}
	if (paths.root.path != NO_PATH)
		values[paths.root.path] = { JSON_OBJECT, message.data(), message.size(), message.data(), message.size() };
	return JSON_OK;
}

/* Where an element of an accepted array ends: at its comma, or at the array's bracket. */
const char *
element_end(const char *p)
{
	for (int depth = 0;; p++) {
		if (*p == '"') {
			for (p++; *p != '"'; p++)
				p += *p == '\\';
		} else if (*p == '{' || *p == '[') {
			depth++;
		} else if (depth == 0 && (*p == ',' || *p == ']')) {
			return p;
		} else if (*p == '}' || *p == ']') {
			depth--;
		}
	}
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
			auto child = std::make_unique<node>(*key);
			node *below = child.get();
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

bool
json_met_unknown(const struct json_reader *reader)
{
	return reader->met_unknown;
}

size_t
json_unescape(const char *inside, size_t len, char *out)
{
	char *end = out;
	enum json_status status = unescape(std::string_view(inside, len), end);

	ASSERT(status == JSON_OK);
	return size_t(end - out);
}

bool
json_next(const char **at, const char **element, size_t *len)
{
	ASSERT(**at == '[' || **at == ',' || **at == ']');
	if (**at == ']')
		return false;
	const char *begin = *at + 1;
	while (is_space(*begin))
		begin++;
	*at = *begin == ']' ? begin : element_end(begin);
	*element = begin;
	*len = trim_end(std::string_view(begin, size_t(*at - begin))).size();
	return *len > 0;
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
	std::string_view field;
	reader->met_unknown = false;
	enum json_status status = walk(*reader, *paths, message, reject_unknown && !whole, values, &field);

	if (status != JSON_OK && !simdjson::validate_utf8(text, len)) {
		status = JSON_BAD_UTF8;
		field = {};
	}
	for (const auto &twin : paths->twins)
		values[twin.first] = values[twin.second];
	if (where)
		*where = status == JSON_OK ? nullptr : keep_where(*reader, field);
	return status;
}
