-- Takes dead letters off their list and, for a retry, pushes their payloads to the producer's end of the queue in the same atomic step. Changes
-- nothing unless the letters stand where the caller saw them.
--
-- KEYS  dead letters (list), queue (list)
-- ARGV  index of the first letter, LPUSH, RPUSH or nothing (only take them off), then for each letter: length, first 256 bytes, last 256 bytes, and
--       with a push its payload
-- ->    letters taken, or -1: the list is not as the caller saw it
local dead, list = KEYS[1], KEYS[2]
local first, push = tonumber(ARGV[1]), ARGV[2]
local width = push == '' and 3 or 4
local letters = (#ARGV - 2) / width
local taken = 'sluice: taken'

for i = 0, letters - 1 do
	local letter, at = redis.call('LINDEX', dead, first + i), 3 + i * width
	if not letter or #letter ~= tonumber(ARGV[at]) or letter:sub(1, 256) ~= ARGV[at + 1] or letter:sub(-256) ~= ARGV[at + 2] then
		return -1
	end
end

-- What writes is tried first in a way that changes nothing: an ACL that forbids one of them must stop us before anything is changed, for Redis takes
-- nothing back. LTRIM comes first because it needs no memory: after one write Redis at maxmemory refuses no other in the same script.
redis.call('LTRIM', dead, 0, -1)
redis.call('LREM', dead, 0, taken)
redis.call('LSET', dead, first, redis.call('LINDEX', dead, first))
for i = 0, letters - 1 do
	if push ~= '' then
		redis.call(push, list, ARGV[6 + i * width])
	end
	redis.call('LSET', dead, first + i, taken)
end
redis.call('LREM', dead, letters, taken)
return letters
