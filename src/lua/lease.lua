-- Takes or renews the right to drain a queue. It is free, or its holder went silent, or it belongs to an earlier or this very run of the same
-- instance: a daemon that was killed and started again need not wait for its own lease to run out.
-- Not given, for now, to who writes another ledger than the last owner, who did not end cleanly: what that one had stored and not removed would be
-- stored again. An empty list holds nothing of the kind.
--
-- KEYS  list, state (hash), lease (string)
-- ARGV  owner ("instance boot"), time to live in ms, ledger that the caller writes ("none": it has none, and promises at least once), epoch of an owner
--       whose orders may be stored again, as an operator has said (0: none)
-- ->    granted (1; 0: another holds it; 2: not given for the other ledger's sake), holder, its remaining ms, epoch, settled, generation, items in the
--       list, ledger of the last owner, clean (1: that owner left nothing that was committed and not settled), others (1: the caller is not that owner)
local list, state, lease = KEYS[1], KEYS[2], KEYS[3]
local owner, ttl, ledger, accepted = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])

local function instance(who)
	return who:match('^(.*) ') or who
end

local items = redis.call('LLEN', list)
local seen = redis.call('HMGET', state, 'epoch', 'settled', 'generation', 'ledger', 'clean', 'owner')
local holder = redis.call('GET', lease)
local epoch, left = tonumber(seen[1] or 0), seen[4]
local doubt = left and left ~= ledger and left ~= 'none' and ledger ~= 'none' and not seen[5] and items > 0 and accepted ~= epoch
local granted = (holder and instance(holder) ~= instance(owner)) and 0 or doubt and 2 or 1
if granted == 1 then
	-- DEL first: it needs no memory, and after one write Redis at maxmemory refuses no other in the same script
	redis.call('DEL', lease)
	redis.call('SET', lease, owner, 'PX', ttl)
	holder = owner
end
return {granted, holder or '', redis.call('PTTL', lease), epoch, tonumber(seen[2] or 0), seen[3] or '', items, left or '', seen[5] and 1 or 0,
	seen[6] ~= owner and 1 or 0}
