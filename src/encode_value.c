/* The kinds of columns, each with its way to take a value. */
#include "encode_value.h"

#include <string.h>

#include "config.h"
#include "encode_text.h"
#include "json.h"
#include "mapping.h"
#include "sql_text.h"

#define NUMBER_BARE_MAX 18 /* characters: an integer of a bigint, or a decimal */

/* Appends text for a column that is not binary; SQL_TEXT_PADDING bytes behind it are readable, as behind all that comes from a message. */
static const char *
add_text(struct value_context *context, struct buf *out, const char *text, size_t len)
{
	return sql_text_add(context->as, out, text, len) ? NULL : "\\u0000 cannot be stored in a PostgreSQL text";
}

/* Appends what a buffer of the context holds. */
static const char *
add_buf(struct value_context *context, struct buf *out, struct buf *from)
{
	memset(buf_reserve(from, SQL_TEXT_PADDING), ' ', SQL_TEXT_PADDING);
	return add_text(context, out, from->data, from->len);
}

static const char *
add_base64(struct value_context *context, const struct json_value *value, struct buf *out)
{
	if (value->kind != JSON_STRING)
		return "base64() takes a string";
	ASSERT(context->as != NULL);
	buf_reset(&context->scratch);
	if (!text_from_base64(&context->scratch, value->text, value->len))
		return "not base64";
	sql_text_add_binary(context->as, out, context->scratch.data, context->scratch.len);
	return NULL;
}

/* MySQL's bit columns take quoted digits as bytes, so theirs go bare. */
static const char *
add_bit(const struct json_value *value, struct buf *out)
{
	static const char why[] = "a bit column takes an integer from 0 on, true, false or a string of 0 and 1";
	bool number = value->kind == JSON_NUMBER;

	if (value->kind == JSON_TRUE || value->kind == JSON_FALSE) {
		buf_addc(out, value->kind == JSON_TRUE ? '1' : '0');
		return NULL;
	}
	if (!number && value->kind != JSON_STRING)
		return why;
	for (size_t i = 0; i < value->len; i++) {
		char c = value->text[i];
		if (c < '0' || c > (number ? '9' : '1'))
			return why;
	}
	buf_adds(out, number ? "" : "b'");
	buf_add(out, value->text, value->len);
	buf_adds(out, number ? "" : "'");
	return NULL;
}

/* Does a number, as JSON has it, go as it is? MySQL reads it without loss, whatever the column's type is. */
static bool
is_short_number(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] != '.' && (text[i] < '0' || text[i] > '9'))
			return false; /* negative, with an exponent, or no number at all */
	}
	return len <= NUMBER_BARE_MAX;
}

/* A number for one of MySQL's: most go bare, which its parser takes in less time than a text. Those of a key do not: it would look different when a
 * message has it as a string. */
static const char *
add_number(struct value_context *context, bool in_key, const struct json_value *value, struct buf *out)
{
	static const char ones[] = "1111111111111111", zeros[] = "0000000000000000"; /* the first digit counts, the others are padding */
	bool truth = value->kind == JSON_TRUE || value->kind == JSON_FALSE;
	const char *text = !truth ? value->text : value->kind == JSON_TRUE ? ones : zeros;
	size_t len = truth ? 1 : value->len;

	_Static_assert(sizeof ones > SQL_TEXT_PADDING, "too little padding");
	if (in_key || value->kind == JSON_STRING || !is_short_number(text, len))
		return add_text(context, out, text, len);
	buf_add(out, text, len);
	return NULL;
}

/* A string for a date or time column of MySQL; what is no ISO 8601 goes as it is, for the server to judge. */
static const char *
add_date(struct value_context *context, bool date_only, const struct json_value *value, struct buf *out)
{
	buf_reset(&context->scratch);
	if (value->kind == JSON_STRING && text_from_iso(&context->scratch, value->text, value->len, date_only))
		return add_buf(context, out, &context->scratch);
	return add_text(context, out, value->text, value->len);
}

/* A value of the message that is not NULL. */
static const char *
add_message(struct value_context *context, const struct mapped_column *column, const struct json_value *value, struct buf *out)
{
	switch (column->kind) {
	case COLUMN_JSON:
		return add_text(context, out, value->raw, value->raw_len);
	case COLUMN_NUMBER:
		return add_number(context, column->in_key, value, out);
	case COLUMN_BIT:
		return add_bit(value, out);
	case COLUMN_DATETIME:
	case COLUMN_DATE:
		return add_date(context, column->kind == COLUMN_DATE, value, out);
	case COLUMN_ARRAY:
		if (value->kind != JSON_ARRAY)
			break;
		buf_reset(&context->scratch);
		if (!text_from_array(&context->scratch, value->raw, value->raw_len))
			return "its arrays differ in length or depth";
		return add_buf(context, out, &context->scratch);
	case COLUMN_BINARY:
		if (context->driver == DRIVER_POSTGRESQL)
			break;
		sql_text_add_binary(context->as, out, value->text, value->len);
		return NULL;
	case COLUMN_PLAIN:
	case COLUMN_BOOL:
	case COLUMN_TIME:
		break;
	}
	return add_text(context, out, value->text, value->len);
}

static const char *
add_null(struct value_context *context, struct buf *out)
{
	buf_adds(out, context->as->null);
	return NULL;
}

/* A value that is made here: `value` is NULL, but for base64. */
static const char *
add_made(struct value_context *context, const struct mapped_column *column, const struct json_value *value, struct buf *out)
{
	ASSERT((value != NULL) == (column->from == FROM_BASE64));
	buf_reset(&context->scratch);
	switch (column->from) {
	case FROM_BASE64:
		ASSERT(value->kind != JSON_ABSENT);
		return value->kind == JSON_NULL ? add_null(context, out) : add_base64(context, value, out);
	case FROM_NOW:
		return add_buf(context, out, &context->now);
	case FROM_QUEUE:
		buf_adds(&context->scratch, context->queue);
		break;
	case FROM_POSITION:
		buf_add_number(&context->scratch, context->position);
		break;
	case FROM_MESSAGE:
		ASSERT(false);
	}
	return add_buf(context, out, &context->scratch);
}

const char *
encode_value(struct value_context *context, const struct mapped_column *column, const struct json_value *value, struct buf *out)
{
	if (column->from != FROM_MESSAGE)
		return add_made(context, column, value, out);
	ASSERT(value != NULL && value->kind != JSON_ABSENT);
	return value->kind == JSON_NULL ? add_null(context, out) : add_message(context, column, value, out);
}
