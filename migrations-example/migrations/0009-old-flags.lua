-- The old objects go, each only when its document names a new one that can be read with that ETag and size. What is gone already
-- needs nothing, so the step may run again and needs no checkpoint.
local flags = require "_flags"

local function is_moved(ctx, flag)
  local collection, filter = flags.owner(ctx.mongo, flag)
  local document = collection:find_one(filter, { projection = { flags = 1 } })
  local named = document and document.flags and document.flags[flag.shape]
  local object = named and ctx.bucket:head(named.key)
  return object and object.etag == named.etag and object.size == named.size
end

---@type smartmigration.step
return {
  id = "old-flags",
  from = "2.1.0",
  to = "3.0.0",
  description = "remove the flags' old objects",
  up = function(ctx)
    local countries = flags.countries(ctx.mongo)
    ctx.s3:parallel(ctx.bucket:list { prefix = flags.OLD }, function(object)
      local flag = flags.parse(object.key, countries)
      if not flag then return end
      if not is_moved(ctx, flag) then
        error(("%s is not removed: no document names a copy that can be read"):format(object.key))
      end
      ctx.bucket:delete(object.key)
    end)
  end,
}
