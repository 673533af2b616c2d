-- Takes or renews the right to drain a queue. It is free, or its holder went silent, or it belongs to an earlier or this very run of the same
-- instance: a daemon that was killed and started again need not wait for its own lease to run out.
--
-- KEYS  list, state (hash), lease (string)
-- ARGV  owner ("instance boot"), time to live in ms
-- ->    granted, holder, its remaining ms, epoch, settled, generation, items in the list, ledger of the last owner, clean (1: that owner left
--       nothing that was committed and not settled)
local list, state, lease = KEYS[1], KEYS[2], KEYS[3]
local owner, ttl = ARGV[1], ARGV[2]

local function instance(who)
	return who:match('^(.*) ') or who
end

local items = redis.call('LLEN', list)
local seen = redis.call('HMGET', state, 'epoch', 'settled', 'generation', 'ledger', 'clean')
local holder = redis.call('GET', lease)
local granted = not holder or instance(holder) == instance(owner)
if granted then
	-- DEL first: it needs no memory, and after one write Redis at maxmemory refuses no other in the same script
	redis.call('DEL', lease)
	redis.call('SET', lease, owner, 'PX', ttl)
	holder = owner
end
return {granted and 1 or 0, holder, redis.call('PTTL', lease), tonumber(seen[1] or 0), tonumber(seen[2] or 0), seen[3] or '', items, seen[4] or '',
	seen[5] and 1 or 0}
