// What both workers share. Started as: node WORKER.js OPTIONS, where OPTIONS is JSON with driver, host, dbname, user, redis, rows, pool and batch.
// Connects everything, prints "ready", waits for a line on stdin, works until `rows` orders are stored, prints the seconds,
// and ends when stdin does.
'use strict';

const mysql = require('mysql2/promise');
const pg = require('pg');
const { createClient } = require('redis');

// As sluice's sessions do: see src/db_pg_connect.h.
const PG_KEEP_MEMORY = "SELECT octet_length(repeat(repeat(' ', 4096), n)) FROM generate_series(4096, 4096) AS n";

function openRedis(options) {
	return createClient({ socket: { path: options.redis } }).connect();
}

// A pool whose connections are all open.
async function openPool(options) {
	if (options.driver === 'postgresql') {
		const pool = new pg.Pool({ host: options.host, database: options.dbname, user: options.user, max: options.pool, idleTimeoutMillis: 0 });
		const clients = await Promise.all(Array.from({ length: options.pool }, () => pool.connect()));
		await Promise.all(clients.map((client) => client.query(PG_KEEP_MEMORY)));
		clients.forEach((client) => client.release());
		return pool;
	}
	const pool = mysql.createPool({
		socketPath: options.host, database: options.dbname, user: options.user, connectionLimit: options.pool, timezone: 'Z',
	});
	const connections = await Promise.all(Array.from({ length: options.pool }, () => pool.getConnection()));
	for (const connection of connections) {
		await connection.query("SET SESSION sql_mode = 'STRICT_ALL_TABLES', time_zone = '+00:00'");
		await connection.query('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED');
	}
	connections.forEach((connection) => connection.release());
	return pool;
}

// work(options, pool) returns when all orders are stored.
async function run(work) {
	const options = JSON.parse(process.argv[2]);
	const pool = await openPool(options);
	console.log('ready');
	await new Promise((resolve) => { process.stdin.once('data', resolve); });
	const begin = process.hrtime.bigint();
	await work(options, pool);
	console.log(Number(process.hrtime.bigint() - begin) / 1e9);
	process.stdin.once('end', () => process.exit(0)); // the bench looks at what we have used before
}

function fail(error) {
	console.error(error);
	process.exit(1);
}

module.exports = { fail, openRedis, run };
