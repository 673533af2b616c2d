-- Takes dead letters off their list and, for a retry, pushes their payloads to the producer's end of the queue in the same atomic step. Changes
-- nothing unless the letters stand where the caller saw them.
--
-- KEYS  dead letters (list), queue (list)
-- ARGV  index of the first letter, LPUSH, RPUSH or nothing (only take them off), `most`, then the letters; with a push, each with its payload behind
--       it. Each of these texts comes in words of `most` bytes and a last one that has fewer, as in settle.lua
-- ->    letters taken, or -1: the list is not as the caller saw it
local dead, list = KEYS[1], KEYS[2]
local first, push, most = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local texts, words = {}, {}

for i = 4, #ARGV do
	words[#words + 1] = ARGV[i]
	if #ARGV[i] < most then
		texts[#texts + 1] = #words == 1 and ARGV[i] or table.concat(words)
		words = {}
	end
end
local width = push == '' and 1 or 2
local letters = #texts / width
local taken = 'sluice: taken'

for i = 0, letters - 1 do
	if redis.call('LINDEX', dead, first + i) ~= texts[1 + i * width] then
		return -1
	end
end

-- What writes is tried first in a way that changes nothing: an ACL that forbids one of them must stop us before anything is changed, for Redis takes
-- nothing back. LTRIM comes first because it needs no memory: after one write Redis at maxmemory refuses no other in the same script.
redis.call('LTRIM', dead, 0, -1)
redis.call('LREM', dead, 0, taken)
redis.call('LSET', dead, first, texts[1])
for i = 0, letters - 1 do
	if push ~= '' then
		redis.call(push, list, texts[2 + i * width])
	end
	redis.call('LSET', dead, first + i, taken)
end
redis.call('LREM', dead, letters, taken)
return letters
