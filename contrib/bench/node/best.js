// The best worker that Node can be made into, short of a protocol that loses nothing: it pops `batch` orders at once, and stores them with one COPY
// (PostgreSQL) or one multi-row INSERT (MariaDB), several batches at the same time. What it has popped and not yet stored is lost when it dies.
'use strict';

const { from } = require('pg-copy-streams');
const { fail, openRedis, run } = require('./run.js');

const COLUMNS = 'id, customer, total, placed_at, note, quantity, items';
const COPY_SPECIAL = /[\\\t\n\r]/;
const COPY_ESCAPES = { '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' };
const SQL_SPECIAL = /['\\\0\n\r\x1a]/;
const SQL_ESCAPES = { "'": "\\'", '\\': '\\\\', '\0': '\\0', '\n': '\\n', '\r': '\\r', '\x1a': '\\Z' };

// Most texts need no escape, and a test is cheaper than a replacement.
function copyText(text) {
	return COPY_SPECIAL.test(text) ? text.replace(/[\\\t\n\r]/g, (c) => COPY_ESCAPES[c]) : text;
}

function sqlText(text) {
	return SQL_SPECIAL.test(text) ? text.replace(/['\\\0\n\r\x1a]/g, (c) => SQL_ESCAPES[c]) : text;
}

// One call for all is cheaper than one for each.
function parse(texts) {
	return JSON.parse(`[${texts.join(',')}]`);
}

async function storePostgresql(pool, texts) {
	let rows = '';
	for (const o of parse(texts)) {
		rows += `${o.id}\t${copyText(o.customer)}\t${o.total}\t${o.placed_at}\t${copyText(o.note)}\t${o.quantity}\t${copyText(JSON.stringify(o.items))}\n`;
	}
	const client = await pool.connect();
	await new Promise((resolve, reject) => {
		const stream = client.query(from(`COPY orders (${COLUMNS}) FROM STDIN`));
		stream.on('error', reject);
		stream.on('finish', resolve);
		stream.end(rows);
	});
	client.release();
}

async function storeMariadb(pool, texts) {
	let rows = '';
	for (const o of parse(texts)) {
		const placedAt = `${o.placed_at.slice(0, 10)} ${o.placed_at.slice(11, -1)}`;
		const items = sqlText(JSON.stringify(o.items));
		rows += `${rows === '' ? '' : ','}(${o.id},'${sqlText(o.customer)}',${o.total},'${placedAt}','${sqlText(o.note)}',${o.quantity},'${items}')`;
	}
	await pool.query(`INSERT INTO orders (${COLUMNS}) VALUES ${rows}`);
}

async function drain(options, pool, store) {
	const redis = await openRedis(options);
	for (;;) {
		const texts = await redis.rPopCount('orders', options.batch);
		if (texts === null) {
			return;
		}
		await store(pool, texts);
	}
}

async function work(options, pool) {
	const store = options.driver === 'postgresql' ? storePostgresql : storeMariadb;
	await Promise.all(Array.from({ length: options.pool }, () => drain(options, pool, store)));
}

run(work).catch(fail);
