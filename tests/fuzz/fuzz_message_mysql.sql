-- What MariaDB's own JSON functions make of the messages, held against our rows and reasons: `differences` has a row for each that is not as it
-- should be. Where MariaDB is known to be wrong it is not asked, as narrowly as can be; PostgreSQL is asked there too.

-- Views and procedure are not strict: what the functions warn of, they answer with NULL.
SET SESSION collation_connection = utf8mb4_bin, time_zone = '+00:00', sql_mode = 'NO_ZERO_DATE,NO_ZERO_IN_DATE';

CREATE TABLE messages (n bigint PRIMARY KEY, message longblob, reason longblob, field varchar(20)) ENGINE = Aria TRANSACTIONAL = 0;
-- The default says "absent"; by accident no message will.
CREATE TABLE inserted (n bigint PRIMARY KEY, txt longtext DEFAULT '<absent>', num longtext DEFAULT '<absent>', flag longtext DEFAULT '<absent>',
	doc longtext DEFAULT '<absent>', moment longtext DEFAULT '<absent>', day longtext DEFAULT '<absent>', bits longblob DEFAULT '<absent>',
	bin longblob DEFAULT '<absent>', b64 longblob DEFAULT '<absent>', list longtext DEFAULT '<absent>', deep longtext DEFAULT '<absent>',
	whole longtext DEFAULT '<absent>') ENGINE = Aria TRANSACTIONAL = 0 CHARACTER SET utf8mb4;

CREATE TABLE places (place int PRIMARY KEY, name varchar(20), path varchar(20), kind varchar(20));
INSERT INTO places VALUES (1, 'txt', '$.txt', 'plain'), (2, 'num', '$.num', 'number'), (3, 'flag', '$.flag', 'number'), (4, 'doc', '$.doc', 'json'),
	(5, 'moment', '$.moment', 'datetime'), (6, 'day', '$.day', 'date'), (7, 'bits', '$.bits', 'bit'), (8, 'bin', '$.bin', 'plain'),
	(9, 'b64', '$.b64', 'base64'), (10, 'list', '$.list', 'plain'), (11, 'deep', '$.a.b', 'plain'), (12, 'whole', '$', 'whole');

-- Messages: what MariaDB says of them, and what we said. `once`: no key stands twice that matters. MariaDB takes the first of such keys, and it does
-- not see that one is written with an escape, so the values of messages with either are not compared.
CREATE TABLE judged (n bigint PRIMARY KEY, t longtext, field varchar(20), refused text, verdict varchar(20), once boolean)
	ENGINE = Aria TRANSACTIONAL = 0 CHARACTER SET utf8mb4;
-- Values as they stand in the message, and as text.
CREATE TABLE found (n bigint, place int, raw longtext, text longtext, PRIMARY KEY (n, place)) ENGINE = Aria TRANSACTIONAL = 0 CHARACTER SET utf8mb4;

-- What is no UTF-8 does not survive a conversion, but for the surrogates, ED A0 80 to ED BF BF, which MariaDB takes for characters.
CREATE VIEW judge AS
SELECT n, t, field, NULLIF(SUBSTRING_INDEX(CONVERT(reason USING utf8mb4), ' in field ', 1), '') AS refused, CASE
	WHEN CAST(t AS BINARY) <> message OR HEX(message) RLIKE '^(..)*ED[AB]' THEN 'invalid UTF-8'
	WHEN NOT JSON_VALID(t) THEN 'not JSON'
	WHEN REGEXP_SUBSTR(t, '[^ \t\r\n]') <> '{' THEN 'not a JSON object'
	ELSE '' END AS verdict,
	-- JSON_KEYS crashes MariaDB 10.11 on what is too deep for it
	JSON_VALID(t) AND LOCATE('\\', JSON_KEYS(t)) = 0 AND JSON_LENGTH(JSON_KEYS(t)) = JSON_LENGTH(t)
	AND COALESCE(LOCATE('\\', JSON_KEYS(t, '$.a')) = 0 AND JSON_LENGTH(JSON_KEYS(t, '$.a')) = JSON_LENGTH(t, '$.a'), 1) AS once
FROM (SELECT n, message, reason, field, CONVERT(message USING utf8mb4) AS t FROM messages) AS m;

CREATE VIEW find AS
SELECT n, place, raw, CASE LEFT(raw, 1) WHEN '"' THEN JSON_VALUE(t, path) WHEN '{' THEN JSON_QUERY(t, path) WHEN '[' THEN JSON_QUERY(t, path)
	ELSE raw END AS text
FROM (SELECT n, t, place, path, JSON_EXTRACT(t, path) AS raw FROM judged JOIN places
	WHERE verdict = '' AND (refused IS NULL OR field <> '') AND once) AS v;

CREATE VIEW verdict_differences AS
SELECT n, CONCAT('"', COALESCE(refused, ''), '" (', field, '), MariaDB says "', verdict, '"') AS what
FROM (SELECT *, REGEXP_REPLACE(t, '"([^"\\\\]|\\\\.)*"', '""') AS bare FROM judged) AS j WHERE NOT CASE
	WHEN verdict = 'invalid UTF-8' THEN refused <=> verdict
	WHEN verdict = 'not JSON' AND refused IN ('not JSON', 'not a JSON object', 'nested too deeply', 'half a surrogate pair in a \\u escape') THEN 1
	-- MariaDB goes 31 deep, we 32.
	WHEN verdict = 'not JSON' THEN bare RLIKE '(?:[[{](?:[^][}{]|(?<b>[[{](?:[^][}{]|(?&b))*+[]}]))*){32}'
	WHEN verdict <> '' THEN refused <=> verdict
	WHEN refused IS NULL OR field <> '' THEN 1
	-- MariaDB takes numbers that end too early or have two signs, a backslash before anything, and control characters in keys.
	WHEN refused = 'not JSON' THEN bare RLIKE '-(?![0-9])|[.](?![0-9])|[0-9][eE][+-]?+(?![0-9])'
		OR t RLIKE '(?-i)(?<!\\\\)(\\\\\\\\)*\\\\[^"\\\\/bfnrtu]'
		OR t RLIKE '(?s)^([^"]|"([^"\\\\]|\\\\.)*+")*?"([^"\\\\]|\\\\.)*?[\\x01-\\x1f]([^"\\\\]|\\\\.)*+"[ \t\r\n]*:'
	ELSE 0 END;

-- Dates and times in ISO 8601: the moment without its fraction and in UTC, NULL where it is none.
CREATE VIEW moments AS
SELECT n, place, REGEXP_SUBSTR(text, '[.][0-9]{1,6}') AS fraction,
	CAST(CONCAT(LEFT(text, 10), ' ', REGEXP_SUBSTR(SUBSTR(text, 12), '^[0-9:]+')) AS datetime) - INTERVAL
	IF(digits = '', 0, IF(sign = '-', -1, 1) * (LEFT(digits, 2) * 60 + SUBSTR(CONCAT(digits, '00'), 3, 2))) MINUTE AS moment
FROM (SELECT n, place, text, LEFT(zone, 1) AS sign, REPLACE(SUBSTR(zone, 2), ':', '') AS digits
	FROM (SELECT n, place, text, REGEXP_SUBSTR(SUBSTR(text, 17), '[+-].*') AS zone FROM found WHERE place IN (5, 6) AND LEFT(raw, 1) = '"'
		AND text RLIKE
		'^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)?([Zz]|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)?\\z'
	) AS z) AS o;

-- Base64 with the alphabet and the padding that MariaDB knows; NULL where it is none. It alone would take spaces and bits that belong to no byte.
CREATE VIEW decoded AS
SELECT n, CAST(FROM_BASE64(padded) AS binary) AS bytes FROM (SELECT n, text, digits, RPAD(digits, CEIL(LENGTH(digits) / 4) * 4, '=') AS padded
	FROM (SELECT n, text, REPLACE(REPLACE(TRIM(TRAILING '=' FROM text), '-', '+'), '_', '/') AS digits FROM found
		WHERE place = 9 AND LEFT(raw, 1) = '"') AS d) AS p
WHERE digits RLIKE '^[A-Za-z0-9+/]*\\z' AND LENGTH(digits) % 4 <> 1 AND LENGTH(text) IN (LENGTH(digits), LENGTH(padded))
	AND BINARY REPLACE(TO_BASE64(FROM_BASE64(padded)), '\n', '') = padded;

-- What must be in each column, or why the message must be refused.
CREATE VIEW wanted AS
SELECT f.n, p.name, p.place, j.refused, j.field, CASE
	WHEN f.raw IS NULL THEN '<absent>'
	WHEN LEFT(f.raw, 1) = 'n' THEN NULL
	WHEN p.kind = 'json' AND LEFT(f.raw, 1) = '"' THEN BINARY f.raw
	WHEN p.kind = 'whole' THEN BINARY REGEXP_REPLACE(j.t, '^[ \t\r\n]+|[ \t\r\n]+\\z', '')
	WHEN p.kind IN ('number', 'bit') AND LEFT(f.raw, 1) IN ('t', 'f') THEN IF(LEFT(f.raw, 1) = 't', '1', '0')
	WHEN p.kind = 'bit' AND LEFT(f.raw, 1) = '"' THEN UNHEX(LPAD(COALESCE(CONV(f.text, 2, 16), ''), 2 * CEIL(LENGTH(f.text) / 8), '0'))
	WHEN p.kind = 'base64' THEN d.bytes
	WHEN m.moment IS NOT NULL AND p.kind = 'date' THEN DATE_FORMAT(m.moment, '%Y-%m-%d')
	WHEN m.moment IS NOT NULL THEN CONCAT(DATE_FORMAT(m.moment, '%Y-%m-%d %H:%i:%s'), m.fraction)
	ELSE BINARY f.text END AS text, CASE
	WHEN f.raw IS NULL OR LEFT(f.raw, 1) = 'n' THEN NULL
	WHEN p.kind = 'base64' AND LEFT(f.raw, 1) <> '"' THEN 'base64() takes a string'
	WHEN p.kind = 'base64' AND d.bytes IS NULL THEN 'not base64'
	WHEN p.kind = 'bit' AND LEFT(f.raw, 1) NOT IN ('t', 'f') AND IF(LEFT(f.raw, 1) = '"', f.text NOT RLIKE '^[01]*\\z', f.raw NOT RLIKE '^[0-9]+\\z')
		THEN 'a bit column takes an integer from 0 on, true, false or a string of 0 and 1' END AS refuse,
	-- Not asked: MariaDB's arithmetic knows no year 0, bits beyond 64, or numbers beyond 65 digits.
	p.kind IN ('datetime', 'date') AND (f.text LIKE '0000-%' OR f.text LIKE '0001-01-01%') OR p.kind = 'bit' AND LENGTH(f.text) > 64 AS unsure
FROM found f JOIN places p ON p.place = f.place JOIN judged j ON j.n = f.n LEFT JOIN moments m ON m.n = f.n AND m.place = f.place
	LEFT JOIN decoded d ON d.n = f.n AND p.kind = 'base64';

CREATE VIEW row_differences AS
SELECT w.n, CONCAT(w.name, ' is ', COALESCE(QUOTE(w.ours), ''), ', refused: "', COALESCE(w.refused, ''), '" (', w.field, '), MariaDB has ',
	QUOTE(w.text), ', to be refused: "', COALESCE(w.refuse, ''), '"') AS what
FROM (SELECT w.*, i.n AS row_n, CASE w.name WHEN 'txt' THEN i.txt WHEN 'num' THEN i.num WHEN 'flag' THEN i.flag WHEN 'doc' THEN i.doc
	WHEN 'moment' THEN i.moment WHEN 'day' THEN i.day WHEN 'bits' THEN i.bits WHEN 'bin' THEN i.bin WHEN 'b64' THEN i.b64 WHEN 'list' THEN i.list
	WHEN 'deep' THEN i.deep ELSE i.whole END AS ours FROM wanted w LEFT JOIN inserted i ON i.n = w.n) AS w
WHERE CASE
	WHEN w.refused IS NOT NULL AND w.field = w.name THEN NOT w.refuse <=> w.refused
	WHEN w.refused IS NOT NULL THEN w.refuse IS NOT NULL AND w.place < (SELECT p.place FROM places p WHERE p.name = w.field)
	WHEN w.refuse IS NOT NULL THEN 1
	ELSE NOT w.unsure AND NOT CAST(w.ours AS BINARY) <=> CAST(w.text AS BINARY) END;

CREATE VIEW differences AS
SELECT n, what FROM verdict_differences
UNION ALL SELECT n, what FROM row_differences
UNION ALL SELECT n, 'neither row nor reason, or both' FROM judged j WHERE (refused IS NULL) <> EXISTS (SELECT 1 FROM inserted i WHERE i.n = j.n)
ORDER BY n;

CREATE PROCEDURE ask() BEGIN
	TRUNCATE judged;
	TRUNCATE found;
	INSERT INTO judged SELECT * FROM judge;
	INSERT INTO found SELECT * FROM find;
	SELECT n, what FROM differences;
END;

-- Our rows come into a session as the daemon's is.
SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_ENGINE_SUBSTITUTION';
