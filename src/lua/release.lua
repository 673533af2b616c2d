-- Gives the lease back, if it is still the caller's: a standby takes over at once.
--
-- KEYS  lease (string)
-- ARGV  owner
-- ->    1: given back, 0: it was somebody else's
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
	return 0
end
return redis.call('DEL', KEYS[1])
