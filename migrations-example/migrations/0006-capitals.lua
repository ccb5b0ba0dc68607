-- A capital's name becomes the _id of its city. The name, trimmed, is looked for
--   1. as a city's name in the country (Washington: 21 cities of the US),
--   2. as an alternate name in the country (Bogota: Bogotá; Nur-Sultan: Astana),
--   3. with the kind of settlement behind it (Melekeok: Melekeok Village),
--   4. for a country that has no city, by name in all countries (CS and AN are dissolved: Belgrade, Willemstad);
-- the first rule that finds any decides, and the most populous of what it finds is taken (then the lowest _id). A
-- country without a capital gets null; so does one whose capital is not found, and there the name is kept in
-- capital_name. Only capitals that still are names are touched.
local names = require "_names"

local KINDS = { "Village", "Town", "City" }

local function find_capital(cities, country, name)
  local largest = { sort = { { "population", -1 }, { "_id", 1 } }, projection = { _id = 1 } }
  local with_kind = {}
  for i, kind in ipairs(KINDS) do with_kind[i] = name .. " " .. kind end
  local here = { ["country.code"] = country }
  for _, rule in ipairs {
    { ["country.code"] = country, name = name },
    { ["country.code"] = country, alternatenames = name },
    { ["country.code"] = country, name = { ["$in"] = with_kind } },
  } do
    local city = cities:find_one(rule, largest)
    if city then return city._id end
  end
  if cities:find_one(here) then return nil end
  local city = cities:find_one({ name = name }, largest)
  return city and city._id
end

---@type smartmigration.step
return {
  id = "capitals",
  from = "1.5.0",
  to = "1.6.0",
  description = "replace the capitals' names by references to their cities",
  up = function(ctx)
    local bson = ctx.bson
    local cities, countries = ctx.mongo:collection "cities", ctx.mongo:collection "countries"
    local writes = {}
    for country in countries:find({ capital = { ["$type"] = "string" } }, { projection = { capital = 1 } }) do
      local name = names.trim(country.capital)
      local found = name ~= "" and find_capital(cities, country._id, name)
      local change = { capital = found or bson.null }
      if name ~= "" and not found then
        ctx.log:warn("the capital is not found among the cities", { country = country._id, capital = name })
        change.capital_name = name
      end
      local filter = { _id = country._id, capital = { ["$type"] = "string" } }
      writes[#writes + 1] = { update_one = { filter = filter, update = { ["$set"] = change } } }
    end
    if #writes > 0 then countries:bulk_write(writes) end
  end,
}
