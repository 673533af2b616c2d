// Pushes orders into a queue of sluice: node push.js QUEUE < orders.jsonl
//
// One JSON object a line. An order without an id gets one, so that a push whose answer got lost can be repeated; give the queue
// `mode = ignore` and a unique key, and the second one changes nothing. What Redis has not acknowledged within PUSH_SECONDS (60)
// goes to stdout, and the exit status is 1: nothing is lost, run it again with that. REDIS_URL says where Redis is.
//
// Needs node-redis: npm install redis

const crypto = require('crypto');
const readline = require('readline');
const { createClient } = require('redis');

const url = process.env.REDIS_URL || 'redis://127.0.0.1:6379';
const seconds = Number(process.env.PUSH_SECONDS || 60);
// Time does not heal these: a wrong key, a wrong login, a missing right.
const FINAL = /^(WRONGTYPE|NOAUTH|WRONGPASS|NOPERM)/;

let client = null;

// The order with an id; its other bytes stay as they are, so that 12.10 remains 12.10.
function withId(line) {
	if ('id' in JSON.parse(line)) return line;
	const rest = line.slice(1).trimStart();
	return `{"id": "${crypto.randomUUID()}"${rest.startsWith('}') ? '' : ', '}${rest}`;
}

// An answer that does not come is a failure, too.
function within(ms, promise) {
	let timer;
	const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error('no answer')), ms); });
	return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function drop() {
	if (client) client.destroy();
	client = null;
}

// One attempt; a connection that failed is not used again.
async function attempt(queue, order) {
	if (!client) {
		client = createClient({ url, socket: { connectTimeout: 5000, reconnectStrategy: false } });
		client.on('error', () => {}); // the attempt fails with it
		await within(6000, client.connect());
	}
	await within(5000, client.lPush(queue, order));
}

// Returns when Redis has answered; throws what stood in the way all the time. OOM, LOADING and broken connections pass.
async function push(queue, order) {
	const deadline = Date.now() + 1000 * seconds;
	for (let wait = 50; ; wait = Math.min(2 * wait, 5000)) {
		try {
			return await attempt(queue, order);
		} catch (error) {
			try { drop(); } catch { client = null; }
			if (FINAL.test(error.message) || Date.now() + wait > deadline) throw error;
			console.error(`not acknowledged, trying again: ${error.message}`);
		}
		await new Promise(resolve => setTimeout(resolve, wait * (0.5 + Math.random() / 2))); // or all producers come back at once
	}
}

async function main() {
	let failed = false;
	for await (const line of readline.createInterface({ input: process.stdin })) {
		const order = withId(line.trim());
		try {
			if (!failed) await push(process.argv[2], order);
		} catch (error) {
			console.error(`giving up: ${error.message}`);
			failed = true;
		}
		if (failed) console.log(order);
	}
	if (client) await client.close();
	process.exitCode = failed ? 1 : 0;
}

main();
