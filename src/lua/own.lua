-- Makes the lease's holder the owner of the queue's positions, from this epoch on. Refused when somebody has taken over since it was given the lease, and
-- be it with a smaller epoch: that one may have written another ledger, which the caller knows nothing of. Refused as lease.lua does, too, for the list
-- may have been empty then.
-- Positions start anew, under a new generation, when Redis knows none (first time, or emptied) or when the caller says so.
--
-- KEYS  list, state (hash), lease (string)
-- ARGV  owner, epoch that came with the lease, epoch, new generation, force (1: start anew in any case), ledger that the owner writes, epoch as the
--       fourth of lease.lua
-- ->    owned (1; 0: refused; 2: for the other ledger's sake), epoch, generation, settled, items in the list, fresh (1: generation was made now)
local list, state, lease = KEYS[1], KEYS[2], KEYS[3]
local owner, before, epoch, new_generation, force, ledger, accepted = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])

local items = redis.call('LLEN', list)
local seen = redis.call('HMGET', state, 'epoch', 'settled', 'generation', 'ledger', 'clean')
local current, settled, generation = tonumber(seen[1] or 0), tonumber(seen[2] or 0), seen[3]

if current ~= tonumber(before) or redis.call('GET', lease) ~= owner then
	return {0, current, generation or '', settled, items, 0}
end
local left = seen[4]
if left and left ~= ledger and left ~= 'none' and ledger ~= 'none' and not seen[5] and items > 0 and accepted ~= current then
	return {2, current, generation or '', settled, items, 0}
end

-- HDEL first: it needs no memory, and after one write Redis at maxmemory refuses no other in the same script
redis.call('HDEL', state, 'clean')
local fresh = not generation or force == '1'
if fresh then
	generation, settled = new_generation, 0
	redis.call('HSET', state, 'generation', generation, 'settled', 0)
end
redis.call('HSET', state, 'epoch', epoch, 'owner', owner, 'ledger', ledger)
return {1, tonumber(epoch), generation, settled, items, fresh and 1 or 0}
