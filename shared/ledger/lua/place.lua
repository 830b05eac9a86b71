-- How busy a pool is and, if a job is named, where it stands among the others of it.
-- ARGV: settings, pool, tenant and id of a job ('' for none)
-- Returns JSON: {load, standing}

local pool, tenant, id = ARGV[2], ARGV[3], ARGV[4]
return cjson.encode({load = load_of(pool), standing = id ~= '' and standing_of(pool, tenant, id) or nil})
