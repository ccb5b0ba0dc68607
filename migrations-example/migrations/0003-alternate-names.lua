-- Alternate names are trimmed (see _names.lua); empty ones, repeated ones and the city's own name are
-- dropped; the order stays. What Lua decides per document is written in bulk. A cleaned list is not changed
-- by cleaning it again, so the step may run again; after a break it goes on behind the last batch that was
-- written.
local names = require "_names"

local BATCH = 5000

---@type smartmigration.step
return {
  id = "alternate-names",
  from = "1.2.0",
  to = "1.3.0",
  resumable = true,
  description = "clean the cities' alternate names",
  up = function(ctx)
    local cities = ctx.mongo:collection "cities"
    local last, done = ctx.checkpoint:read "last_id", ctx.checkpoint:read "done" or 0
    local total = cities:estimated_count()
    while true do
      -- A fresh query per batch: nothing to lose when a cursor or session times out. Every _id is an integer.
      local batch = cities:find(last and { _id = { ["$gt"] = last } } or {}, {
        sort = { _id = 1 }, limit = BATCH, projection = { name = 1, alternatenames = 1 },
      }):all()
      if #batch == 0 then return end
      local writes = {}
      for _, city in ipairs(batch) do
        local cleaned = names.clean(city.alternatenames, city.name)
        if #cleaned ~= #city.alternatenames or not names.same(cleaned, city.alternatenames) then
          local change = { ["$set"] = { alternatenames = ctx.bson.array(cleaned) } }
          writes[#writes + 1] = { update_one = { filter = { _id = city._id }, update = change } }
        end
      end
      if #writes > 0 then cities:bulk_write(writes, { ordered = false }) end
      last, done = batch[#batch]._id, done + #batch
      ctx.checkpoint:write("last_id", last)
      ctx.checkpoint:write("done", done)
      ctx:progress(done, total)
    end
  end,
}
