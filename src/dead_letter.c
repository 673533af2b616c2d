/* Writing a dead letter. */
#include "dead_letter.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "buf.h"
#include "config.h"
#include "encode.h"
#include "utf8.h"
#include "window.h"

#define READABLE_MAX ((size_t)1 << 20) /* bytes of a payload that is never base64 if it is UTF-8 */

static void
add_base64(struct buf *out, const char *text, size_t len)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	for (size_t i = 0; i < len; i += 3) {
		size_t left = len - i;
		uint32_t bits = (uint32_t)(unsigned char)text[i] << 16;
		if (left > 1)
			bits |= (uint32_t)(unsigned char)text[i + 1] << 8;
		if (left > 2)
			bits |= (unsigned char)text[i + 2];
		buf_addc(out, digits[bits >> 18]);
		buf_addc(out, digits[bits >> 12 & 63]);
		buf_addc(out, left > 1 ? digits[bits >> 6 & 63] : '=');
		buf_addc(out, left > 2 ? digits[bits & 63] : '=');
	}
}

/* Is base64 the shorter form? What is not large is to be read by people. */
static bool
swells(const struct item *item)
{
	size_t more = 0;
	if (item->len <= READABLE_MAX)
		return false;
	for (size_t i = 0; i < item->len; i++) {
		unsigned char c = (unsigned char)item->text[i];
		if (c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t')
			more++;
		else if (c < 0x20 || c == 0x7f)
			more += strlen("\\u0000") - 1;
	}
	return more > item->len / 3;
}

static void
add_payload(struct buf *out, const struct item *item)
{
	if (utf8_valid(item->text, item->len) && !swells(item)) {
		buf_add_json(out, item->text, item->len);
		return;
	}
	buf_addc(out, '"');
	add_base64(out, item->text, item->len);
	buf_adds(out, "\",\"encoding\":\"base64\"");
}

static void
add_member(struct buf *out, const char *key, const char *text)
{
	ASSERT(utf8_valid(text, strlen(text)));
	buf_addf(out, ",\"%s\":", key);
	buf_add_json(out, text, strlen(text));
}

/* ISO 8601, UTC, milliseconds. */
static void
add_time(struct buf *out, int64_t at_us)
{
	struct tm tm;
	char text[40];
	time_t seconds = (time_t)(at_us / 1000000);
	ASSERT(at_us >= 0 && gmtime_r(&seconds, &tm) != NULL);
	size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
	ASSERT(n > 0);
	buf_addf(out, "%s.%03dZ", text, (int)(at_us / 1000 % 1000));
}

void
dead_letter_write(struct buf *out, const char *queue, const char *instance, int driver, const struct item *item, const struct reject *reject,
    uint64_t position, int64_t at_us)
{
	ASSERT(reject->class[0] != '\0');
	buf_adds(out, "{\"queue\":");
	buf_add_json(out, queue, strlen(queue));
	buf_adds(out, ",\"payload\":");
	add_payload(out, item);
	buf_adds(out, ",\"error\":{\"class\":");
	buf_add_json(out, reject->class, strlen(reject->class));
	if (reject->code[0] != '\0')
		add_member(out, driver == DRIVER_POSTGRESQL ? "sqlstate" : "errno", reject->code);
	add_member(out, "message", reject->message);
	if (reject->column[0] != '\0')
		add_member(out, "column", reject->column);
	buf_addf(out, "},\"position\":%" PRIu64, position);
	add_member(out, "instance", instance);
	buf_adds(out, ",\"at\":\"");
	add_time(out, at_us);
	buf_adds(out, "\"}");
}
