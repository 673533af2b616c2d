-- Makes the lease's holder the owner of the queue's positions, from this epoch on. Refused when somebody has taken over meanwhile.
-- Positions start anew, under a new generation, when Redis knows none (first time, or emptied) or when the caller says so.
--
-- KEYS  list, state (hash), lease (string)
-- ARGV  owner, epoch, new generation, force (1: start anew in any case), ledger that the owner writes
-- ->    owned, epoch, generation, settled, items in the list, fresh (1: generation was made now)
local list, state, lease = KEYS[1], KEYS[2], KEYS[3]
local owner, epoch, new_generation, force, ledger = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local items = redis.call('LLEN', list)
local seen = redis.call('HMGET', state, 'epoch', 'settled', 'generation')
local current, settled, generation = tonumber(seen[1] or 0), tonumber(seen[2] or 0), seen[3]

-- the same epoch is another owner's: the database came back from a backup, and counted up to it once more
if current >= tonumber(epoch) or redis.call('GET', lease) ~= owner then
	return {0, current, generation or '', settled, items, 0}
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
