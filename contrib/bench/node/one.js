// The worker as it is often written: one BRPOP takes one order, one INSERT stores it; the pool lets 10 INSERTs run at once.
// What it has popped and not yet stored is lost when it dies.
'use strict';

const { fail, openRedis, run } = require('./run.js');

const INSERT = 'INSERT INTO orders (id, customer, total, placed_at, note, quantity, items) VALUES ($1, $2, $3, $4, $5, $6, $7)';

function store(options, pool, order) {
	if (options.driver === 'postgresql') {
		return pool.query(INSERT, [order.id, order.customer, order.total, order.placed_at, order.note, order.quantity, JSON.stringify(order.items)]);
	}
	return pool.query('INSERT INTO orders SET ?', { ...order, placed_at: new Date(order.placed_at), items: JSON.stringify(order.items) });
}

async function work(options, pool) {
	const redis = await openRedis(options);
	const underWay = new Set();
	for (let i = 0; i < options.rows; i++) {
		const { element } = await redis.brPop('orders', 0);
		const storing = store(options, pool, JSON.parse(element)).then(() => underWay.delete(storing));
		underWay.add(storing);
		if (underWay.size >= options.pool) {
			await Promise.race(underWay);
		}
	}
	await Promise.all(underWay);
}

run(work).catch(fail);
