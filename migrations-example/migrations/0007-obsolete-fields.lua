-- What the steps before have replaced goes, and the server refuses it from now on. Fields first: a validator
-- would refuse the updates of documents that still have them.
local TEXT = { bsonType = "string" }
local NAME = { bsonType = "string", minLength = 1 }
local WHOLE = { bsonType = { "int", "long" } }
local LIST = { bsonType = "array", items = NAME, uniqueItems = true }

local function object(required, optional)
  local schema = { bsonType = "object", required = {}, properties = {}, additionalProperties = false }
  for name, kind in pairs(required) do
    table.insert(schema.required, name)
    schema.properties[name] = kind
  end
  for name, kind in pairs(optional or {}) do schema.properties[name] = kind end
  table.sort(schema.required)
  return schema
end

local POINT = object {
  type = { enum = { "Point" } },
  coordinates = { bsonType = "array", items = { bsonType = "double" }, minItems = 2, maxItems = 2 },
}

local CITY = object {
  _id = WHOLE, name = NAME, population = WHOLE, timezone = TEXT, admin1code = TEXT, alternatenames = LIST,
  location = POINT, country = object({ code = NAME, name = NAME, continent = NAME }, { currency = NAME }),
}

local COUNTRY = object({
  _id = TEXT, geonameid = WHOLE, name = NAME, iso3 = TEXT, isonumeric = WHOLE, fips = TEXT, continentcode = NAME,
  capital = { bsonType = { "int", "long", "null" } }, areakm2 = WHOLE, population = WHOLE, tld = TEXT, phone = TEXT,
  postalcoderegex = TEXT, languages = LIST, neighbours = LIST,
  currency = { oneOf = { object { code = NAME, name = NAME }, { bsonType = "null" } } },
}, { capital_name = NAME })

local COLLECTIONS = {
  { name = "cities", obsolete = { "geonameid", "latitude", "longitude", "countrycode" }, schema = CITY },
  { name = "countries", obsolete = { "iso" }, schema = COUNTRY },
}

---@type smartmigration.step
return {
  id = "obsolete-fields",
  from = "1.6.0",
  to = "2.0.0",
  description = "drop the replaced fields and let the server check every document",
  up = function(ctx)
    for _, collection in ipairs(COLLECTIONS) do
      local present, fields = {}, {}
      for i, field in ipairs(collection.obsolete) do
        present[i] = { [field] = { ["$exists"] = true } }
        fields[field] = ""
      end
      ctx.mongo:collection(collection.name):update_many({ ["$or"] = present }, { ["$unset"] = fields })
      ctx.mongo:modify_collection(collection.name, {
        validator = { ["$jsonSchema"] = collection.schema }, validationLevel = "strict", validationAction = "error",
      })
    end
  end,
}
