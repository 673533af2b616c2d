-- What PostgreSQL's own json makes of the messages, held against our rows and reasons: `differences` has a row for each that is not as it should be.
-- Type json, not jsonb: it keeps numbers and containers as they are written, takes any depth, and of a key that stands twice the last value.

CREATE TEMP TABLE messages (n bigint, message bytea, reason bytea, field text) ON COMMIT DELETE ROWS;
-- The default says "absent"; by accident no message will.
CREATE TEMP TABLE copied (n bigint, txt text DEFAULT '<absent>', num text DEFAULT '<absent>', flag text DEFAULT '<absent>',
	doc text DEFAULT '<absent>', moment text DEFAULT '<absent>', day text DEFAULT '<absent>', bits text DEFAULT '<absent>',
	bin text DEFAULT '<absent>', b64 text DEFAULT '<absent>', list text DEFAULT '<absent>', deep text DEFAULT '<absent>',
	whole text DEFAULT '<absent>') ON COMMIT DELETE ROWS;
CREATE TEMP TABLE inserted (LIKE copied INCLUDING DEFAULTS) ON COMMIT DELETE ROWS;

-- PostgreSQL reads no \u0000, which is JSON all the same: it is shown a character in its place that stands nowhere else.
CREATE FUNCTION pg_temp.without_nul(t text) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT CASE WHEN strpos(t, '\u0000') = 0 THEN t ELSE regexp_replace(t, '(?<!\\)((?:\\\\)*)\\u0000', '\1\\ufdd0', 'g') END $$;

CREATE FUNCTION pg_temp.depth(t text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	bracket text;
	now int := 0;
	deepest int := 0;
BEGIN
	IF length(t) - length(translate(t, '[{', '')) <= 32 THEN
		RETURN 0; -- not worth the counting
	END IF;
	FOR bracket IN SELECT m[1] FROM regexp_matches(regexp_replace(t, '"(?:[^"\\]|\\.)*"', '', 'g'), '[][{}]', 'g') m LOOP
		now := now + CASE WHEN bracket IN ('[', '{') THEN 1 ELSE -1 END;
		deepest := greatest(deepest, now);
	END LOOP;
	RETURN deepest;
END $$;

-- What stands in an array and the arrays in it, in order.
CREATE FUNCTION pg_temp.leaves(list json) RETURNS text[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	v json;
	found text[] := '{}';
BEGIN
	FOR v IN SELECT value FROM json_array_elements(list) LOOP
		found := CASE WHEN json_typeof(v) = 'array' THEN found || pg_temp.leaves(v) ELSE array_append(found, v #>> '{}') END;
	END LOOP;
	RETURN found;
END $$;

-- The lengths of an array and of the arrays in it, '3x2'; NULL where they differ, or stand beside other values.
CREATE FUNCTION pg_temp.shape(list json) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	shapes text[] := ARRAY(SELECT CASE json_typeof(value) WHEN 'array' THEN coalesce(pg_temp.shape(value), 'none') ELSE '' END
		FROM json_array_elements(list));
BEGIN
	RETURN CASE WHEN shapes = '{}' THEN '0' WHEN 'none' = ANY (shapes) OR NOT shapes[1] = ALL (shapes) THEN NULL
		ELSE cardinality(shapes) || CASE shapes[1] WHEN '' THEN '' ELSE 'x' || shapes[1] END END;
END $$;

-- Is the literal that array? PostgreSQL's have at most six dimensions, so only a flat one must be taken.
CREATE FUNCTION pg_temp.same_array(literal text, list json, had_nul boolean) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	found text[];
	wanted text[] := pg_temp.leaves(list);
BEGIN
	BEGIN
		found := literal::text[];
	EXCEPTION WHEN invalid_text_representation OR program_limit_exceeded THEN
		RETURN EXISTS (SELECT FROM json_array_elements(list) WHERE json_typeof(value) = 'array');
	END;
	found := ARRAY(SELECT unnest(found));
	IF had_nul THEN -- an object in the array still has its \u0000
		found := ARRAY(SELECT pg_temp.without_nul(e) FROM unnest(found) e);
		wanted := ARRAY(SELECT pg_temp.without_nul(e) FROM unnest(wanted) e);
	END IF;
	RETURN found = wanted;
END $$;

-- The bytes of base64, both alphabets, padded or not; NULL where it is none. decode() alone would take spaces and bits that belong to no byte.
CREATE FUNCTION pg_temp.base64(t text) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	digits text := translate(rtrim(t, '='), '-_', '+/');
	padded text := digits || repeat('=', (4 - length(digits) % 4) % 4);
BEGIN
	IF digits !~ '^[A-Za-z0-9+/]*$' OR length(digits) % 4 = 1 OR (length(t) > length(digits) AND length(t) <> length(padded))
		OR replace(encode(decode(padded, 'base64'), 'base64'), E'\n', '') <> padded THEN
		RETURN NULL;
	END IF;
	RETURN decode(padded, 'base64');
END $$;

-- What is wrong with one column, NULL if nothing; `refuse` is why the message must be refused.
CREATE FUNCTION pg_temp.column_difference(name text, v json, had_nul boolean, ours text, OUT wrong text, OUT refuse text)
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	kind text := json_typeof(v);
	wanted text;
BEGIN
	IF kind IS NULL THEN
		wanted := '<absent>';
	ELSIF kind = 'null' THEN
		wanted := NULL;
	ELSIF name IN ('doc', 'whole') THEN
		wanted := v::text;
		ours := pg_temp.without_nul(ours);
	ELSIF name = 'b64' THEN
		refuse := CASE WHEN kind <> 'string' THEN 'base64() takes a string' WHEN pg_temp.base64(v #>> '{}') IS NULL THEN 'not base64' END;
		wanted := pg_temp.base64(v #>> '{}')::text;
	ELSIF name = 'list' AND kind = 'array' THEN
		IF pg_temp.shape(v) IS NULL THEN
			refuse := 'its arrays differ in length or depth';
		ELSIF had_nul AND EXISTS (SELECT FROM unnest(pg_temp.string_leaves(v)) e WHERE strpos(e, U&'\FDD0') > 0) THEN
			refuse := '\u0000 cannot be stored in a PostgreSQL text';
		ELSIF ours IS NOT NULL AND NOT pg_temp.same_array(ours, v, had_nul) THEN
			wrong := format('%s is %s, PostgreSQL has %s', name, ours, v);
		END IF;
		RETURN;
	ELSIF kind = 'string' THEN
		wanted := v #>> '{}';
		IF had_nul AND strpos(wanted, U&'\FDD0') > 0 THEN
			refuse := '\u0000 cannot be stored in a PostgreSQL text';
		END IF;
	ELSE
		wanted := v::text;
		ours := pg_temp.without_nul(ours);
	END IF;
	IF refuse IS NULL AND ours IS DISTINCT FROM wanted THEN
		wrong := format('%s is %L, PostgreSQL has %L', name, ours, wanted);
	END IF;
END $$;

-- As leaves(), of strings only.
CREATE FUNCTION pg_temp.string_leaves(list json) RETURNS text[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	v json;
	found text[] := '{}';
BEGIN
	FOR v IN SELECT value FROM json_array_elements(list) LOOP
		found := found || CASE json_typeof(v) WHEN 'array' THEN pg_temp.string_leaves(v) WHEN 'string' THEN ARRAY[v #>> '{}'] ELSE '{}' END;
	END LOOP;
	RETURN found;
END $$;

-- What is wrong with the columns of a message that is one; `refused` and `field` are why it is no row all the same.
CREATE FUNCTION pg_temp.row_difference(d json, had_nul boolean, refused text, field text, ours text[]) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	names constant text[] := '{txt,num,flag,doc,moment,day,bits,bin,b64,list,deep,whole}';
	v json;
	found record;
BEGIN
	FOR i IN 1 .. 12 LOOP
		v := CASE names[i] WHEN 'deep' THEN d -> 'a' -> 'b' WHEN 'whole' THEN d ELSE d -> names[i] END;
		CONTINUE WHEN v IS NULL AND coalesce(ours[i], '<absent>') = '<absent>'; -- mostly
		found := pg_temp.column_difference(names[i], v, had_nul, ours[i]);
		IF found.refuse IS NOT NULL THEN
			RETURN CASE WHEN refused IS DISTINCT FROM found.refuse OR field <> names[i] THEN
				format('%L (%s), and it should be %L (%s)', refused, field, found.refuse, names[i]) END;
		ELSIF refused IS NULL AND found.wrong IS NOT NULL THEN
			RETURN found.wrong;
		END IF;
	END LOOP;
	RETURN CASE WHEN refused IS NOT NULL THEN format('refused, %L (%s), and it could be stored', refused, field) END;
END $$;

-- What is wrong with a message, NULL if nothing. Where it is wrong in several ways, any true reason will do: we stop at the first, from the left.
CREATE FUNCTION pg_temp.difference(message bytea, reason text, field text, ours text[]) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	refused text := regexp_replace(reason, ' in field .*', '');
	t text;
	d json;
	half boolean := false;
	deep boolean;
	had_nul boolean;
BEGIN
	BEGIN
		t := convert_from(message, 'UTF8');
	EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
		-- A NUL byte is UTF-8, but not to PostgreSQL; JSON it is nowhere.
		RETURN CASE WHEN refused IS NULL OR (refused <> 'invalid UTF-8' AND position('\x00'::bytea IN message) = 0) THEN
			format('%L, and it is not UTF-8', refused) END;
	END;
	BEGIN
		d := t::json;
	EXCEPTION WHEN invalid_text_representation THEN
		RETURN CASE WHEN coalesce(refused, '') NOT IN ('not JSON', 'not a JSON object', 'nested too deeply',
			'half a surrogate pair in a \u escape') THEN
			format('%L, and it is not JSON', refused) END;
	END;
	IF json_typeof(d) <> 'object' THEN
		RETURN CASE WHEN refused IS DISTINCT FROM 'not a JSON object' THEN format('%L, and it is no object', refused) END;
	END IF;

	had_nul := strpos(t, '\u0000') > 0;
	IF had_nul AND (strpos(t, U&'\FDD0') > 0 OR t ~* '\\ufdd0') THEN
		RETURN NULL; -- then they could not be told apart
	ELSIF had_nul THEN
		t := pg_temp.without_nul(t);
		d := t::json;
	END IF;
	deep := pg_temp.depth(t) > 32;
	BEGIN
		PERFORM d -> 'txt';
	EXCEPTION WHEN invalid_text_representation THEN
		half := true;
	END;
	IF half OR deep THEN
		RETURN CASE WHEN NOT coalesce(half AND refused LIKE 'half a surrogate%' OR deep AND refused = 'nested too deeply', false) THEN
			format('%L, and it has half a surrogate pair: %s, is too deep: %s', refused, half, deep) END;
	END IF;
	RETURN pg_temp.row_difference(btrim(t, E' \t\r\n')::json, had_nul, refused, field, ours);
END $$;

CREATE FUNCTION pg_temp.difference(m messages, c copied, i inserted) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN (m.reason = '') <> (c.n IS NOT NULL) OR c::text IS DISTINCT FROM i::text THEN 'COPY and INSERT do not agree'
		ELSE pg_temp.difference(m.message, nullif(convert_from(m.reason, 'UTF8'), ''), m.field,
			ARRAY[c.txt, c.num, c.flag, c.doc, c.moment, c.day, c.bits, c.bin, c.b64, c.list, c.deep, c.whole]) END $$;

CREATE TEMP VIEW differences AS
SELECT * FROM (
	SELECT m.n, pg_temp.difference(m, c, i) AS what FROM messages m LEFT JOIN copied c USING (n) LEFT JOIN inserted i USING (n)
) AS all_of_them WHERE what IS NOT NULL ORDER BY n;
