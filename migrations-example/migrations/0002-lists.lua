-- "DE,FR,," becomes ["DE", "FR"]: parts are trimmed, empty ones dropped. Only fields that are no arrays yet are touched,
-- so the step may run again from any point. (`$type = "string"` would not do: it also finds arrays of strings.)
local function split(field)
  local trimmed = { ["$trim"] = { input = "$$this" } }
  local parts = { ["$map"] = { input = { ["$split"] = { field, "," } }, ["in"] = trimmed } }
  return { ["$filter"] = { input = parts, cond = { ["$ne"] = { "$$this", "" } } } }
end

---@type smartmigration.step
return {
  id = "lists",
  from = "1.1.0",
  to = "1.2.0",
  description = "turn the countries' comma-separated neighbours and languages into arrays",
  up = function(ctx)
    local countries = ctx.mongo:collection "countries"
    for _, field in ipairs { "neighbours", "languages" } do
      local still_text = { [field] = { ["$not"] = { ["$type"] = "array" } } }
      countries:update_many(still_text, { { ["$set"] = { [field] = split("$" .. field) } } })
    end
  end,
}
