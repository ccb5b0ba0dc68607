-- Flags get keys that say whose they are, a content type that browsers show and a year in their caches; key, ETag and size
-- stand in the country's document (a region's, where the flag is no country's). The old objects stay, so that old programs
-- live on: the next step removes them. Per flag the object comes first and the document second, so that no document ever
-- names what cannot be read; both may be done again. After a break it goes on behind the last key up to which all is done.
local flags = require "_flags"

local FLAG = { bsonType = "object", required = { "etag", "key", "size" }, additionalProperties = false, properties = {
  key = { bsonType = "string" }, etag = { bsonType = "string" }, size = { bsonType = { "int", "long" } },
} }
local FLAGS = { bsonType = "object", additionalProperties = false, properties = { ["4x3"] = FLAG, squared = FLAG } }

-- The validator that the step before gave the countries knows no flags.
local function allow_flags(db)
  local validator = db:list_collections({ name = "countries" }):next().options.validator
  if not validator then return end
  validator["$jsonSchema"].properties.flags = FLAGS
  db:modify_collection("countries", { validator = validator })
end

---@type smartmigration.step
return {
  id = "flags",
  from = "2.0.0",
  to = "2.1.0",
  compatible_from = "2.0.0",
  resumable = true,
  description = "copy the flags to their countries' keys and name them in the documents",
  up = function(ctx)
    allow_flags(ctx.mongo)
    local countries = flags.countries(ctx.mongo)
    local done = ctx.checkpoint:read "done" or 0
    ctx.s3:parallel(ctx.bucket:list { prefix = flags.OLD, start_after = ctx.checkpoint:read "last_key" }, function(object)
      local flag = flags.parse(object.key, countries)
      if not flag then return ctx.log:warn("this is no flag: it stays where it is", { key = object.key }) end
      local copied = ctx.bucket:copy(object.key, flag.key, {
        content_type = "image/svg+xml", cache_control = "public, max-age=31536000", metadata = {},
      })
      local collection, filter = flags.owner(ctx.mongo, flag)
      local named = { key = flag.key, etag = copied.etag, size = object.size }
      collection:update_one(filter, { ["$set"] = { ["flags." .. flag.shape] = named } }, { upsert = flag.region ~= nil })
    end, {
      concurrency = 16,
      on_progress = function(last_key)
        done = done + 1
        if done % 100 == 0 then
          ctx.checkpoint:write("last_key", last_key)
          ctx.checkpoint:write("done", done)
        end
        ctx:progress(done)
      end,
    })
  end,
}
