-- Takes dead letters off their list and, for a retry, pushes their payloads to the producer's end of the queue in the same atomic step. Changes
-- nothing unless the letters stand where the caller saw them.
--
-- KEYS  dead letters (list), queue (list)
-- ARGV  index of the first letter, LPUSH, RPUSH or nothing (only take them off), then the letters; with a push, each with its payload behind it
-- ->    letters taken, or -1: the list is not as the caller saw it
local dead, list = KEYS[1], KEYS[2]
local first, push = tonumber(ARGV[1]), ARGV[2]
local width = push == '' and 1 or 2
local letters = (#ARGV - 2) / width
local taken = 'sluice: taken'

for i = 0, letters - 1 do
	if redis.call('LINDEX', dead, first + i) ~= ARGV[3 + i * width] then
		return -1
	end
end

-- What writes is tried first in a way that changes nothing: an ACL that forbids one of them must stop us before anything is changed, for Redis takes
-- nothing back. LTRIM comes first because it needs no memory: after one write Redis at maxmemory refuses no other in the same script.
redis.call('LTRIM', dead, 0, -1)
redis.call('LREM', dead, 0, taken)
redis.call('LSET', dead, first, ARGV[3])
for i = 0, letters - 1 do
	if push ~= '' then
		redis.call(push, list, ARGV[4 + i * width])
	end
	redis.call('LSET', dead, first + i, taken)
end
redis.call('LREM', dead, letters, taken)
return letters
