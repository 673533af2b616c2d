-- Gives the lease back, if it is still the caller's: a standby takes over at once.
--
-- KEYS  state (hash), lease (string)
-- ARGV  owner, epoch of the owner if it leaves nothing that was committed and not settled; else 0
-- ->    1: given back, 0: it was somebody else's, 2: given back, but not clean: a command of the owner's that was late has made it the owner again
local state, lease = KEYS[1], KEYS[2]
local owner, epoch = ARGV[1], ARGV[2]

if redis.call('GET', lease) ~= owner then
	return 0
end
-- DEL first: it needs no memory, and after one write Redis at maxmemory refuses no other in the same script
redis.call('DEL', lease)
local seen = redis.call('HMGET', state, 'epoch', 'owner', 'clean')
if epoch == '0' or seen[3] then -- it may be clean since the owner before
	return 1
elseif seen[1] ~= epoch or seen[2] ~= owner then
	return 2
end
redis.call('HSET', state, 'clean', 1)
return 1
