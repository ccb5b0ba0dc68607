-- Two numbers become one GeoJSON point, which MongoDB can index. The numbers stay until the last step, so a program of
-- version 1.0.0 still works: this step only adds.
---@type smartmigration.step
return {
  id = "locations",
  from = "1.0.0",
  to = "1.1.0",
  compatible_from = "1.0.0",
  description = "give every city a GeoJSON location, and an index over it",
  up = function(ctx)
    local cities = ctx.mongo:collection "cities"
    cities:update_many({ location = { ["$exists"] = false } }, {
      { ["$set"] = { location = { type = "Point", coordinates = { "$longitude", "$latitude" } } } },
    })
    cities:create_index({ location = "2dsphere" }, { name = "location" })
  end,
}
