-- Takes committed items off the list and, in the same atomic step, moves the settled position and stores the dead letters. Changes nothing unless
-- everything is as the caller believes: nothing is removed that it has not committed.
--
-- KEYS  list, state (hash), lease (string), dead letters (list)
-- ARGV  pop ("right" or "left": the end that is drained), owner, epoch, settled, skip, remove, advance, lease ms, most dead letters,
--       n samples, then for each: offset behind skip, length, first 256 bytes, last 256 bytes; then `most` and the dead letters, each in words of
--       `most` bytes and a last one that has fewer: Redis bounds the words that it takes (proto-max-bulk-len), not the items of its lists
-- ->    status, settled, items in the list, dead letters, epoch, sample that differs
local list, state, lease, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local right, owner, epoch, settled = ARGV[1] == 'right', ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local skip, remove, advance = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local ttl, dead_max, samples = ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])
local first_sample = 11
local most = tonumber(ARGV[first_sample + 4 * samples])
local first_dead = first_sample + 4 * samples + 1
local letters, words = {}, {}

for i = first_dead, #ARGV do
	words[#words + 1] = ARGV[i]
	if #ARGV[i] < most then
		letters[#letters + 1] = #words == 1 and ARGV[i] or table.concat(words)
		words = {}
	end
end

local items, dead_items = redis.call('LLEN', list), redis.call('LLEN', dead)
local seen = redis.call('HMGET', state, 'epoch', 'settled', 'owner')
local ours = redis.call('GET', lease) == owner
local current, position = tonumber(seen[1] or 0), tonumber(seen[2] or 0)

local function answer(status, sample)
	return {status, position, items, dead_items, current, sample or 0}
end

if not seen[1] then
	return answer('gone')
elseif current ~= epoch or seen[3] ~= owner then -- of two ledgers, both may have counted up to the same epoch
	return answer('fenced')
elseif position ~= settled then
	return answer('moved')
end

for i = 0, samples - 1 do
	local at = first_sample + 4 * i
	local offset = skip + tonumber(ARGV[at])
	local item = redis.call('LINDEX', list, right and -offset - 1 or offset)
	if not item or #item ~= tonumber(ARGV[at + 1]) or item:sub(1, 256) ~= ARGV[at + 2] or item:sub(-256) ~= ARGV[at + 3] then
		return answer('guard', i)
	end
end
if items < skip + remove then
	return answer('guard', samples)
elseif #letters > 0 and dead_items + #letters > dead_max and (dead_items > 0 or dead_max == 0) then
	-- what one settle brings always fits an empty list, or the queue would stand still for ever
	return answer('full')
end

-- What writes is tried first in a way that changes nothing: an ACL that forbids one of them must stop us before anything is changed, for Redis takes
-- nothing back. LTRIM comes first because it needs no memory: after one write Redis at maxmemory refuses no other in the same script.
redis.call('LTRIM', list, 0, -1)
redis.call('HINCRBY', state, 'settled', 0)
if ours then
	redis.call('PEXPIRE', lease, ttl)
end
for i = 1, #letters do
	dead_items = redis.call('RPUSH', dead, letters[i])
end
position = redis.call('HINCRBY', state, 'settled', advance)
if right then
	local kept = skip > 0 and redis.call('LRANGE', list, -skip, -1) or {}
	redis.call('LTRIM', list, 0, -(skip + remove + 1))
	for i = 1, #kept do
		redis.call('RPUSH', list, kept[i])
	end
else
	local kept = skip > 0 and redis.call('LRANGE', list, 0, skip - 1) or {}
	redis.call('LTRIM', list, skip + remove, -1)
	for i = #kept, 1, -1 do
		redis.call('LPUSH', list, kept[i])
	end
end
items = redis.call('LLEN', list)
return answer('settled')
