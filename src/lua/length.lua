-- KEYS  list, dead letters (list)
-- ->    items in the list, dead letters
return {redis.call('LLEN', KEYS[1]), redis.call('LLEN', KEYS[2])}
