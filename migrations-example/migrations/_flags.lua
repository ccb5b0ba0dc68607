-- What the two steps about flags share: where an old object's flag goes, and whose it is.
local flags = {}

flags.OLD = "flags/country-"
flags.SHAPES = { ["4x3"] = true, squared = true }

-- "flags/country-4x3/ad.svg" -> { shape = "4x3", country = "AD", key = "countries/AD/flag-4x3.svg" }; a flag of no country
-- ("_wales", "eu") goes to regions/ and has a region in place of the country. nil for a key of another form.
function flags.parse(key, countries)
  local shape, name = key:match "^flags/country%-([^/]+)/_?([%w_]+)%.svg$"
  if not flags.SHAPES[shape] then return nil end
  local code = name:upper()
  if countries[code] then
    return { shape = shape, country = code, key = ("countries/%s/flag-%s.svg"):format(code, shape) }
  end
  return { shape = shape, region = name, key = ("regions/%s/flag-%s.svg"):format(name, shape) }
end

-- The codes of all countries, as a set.
function flags.countries(db)
  local codes = {}
  for country in db:collection("countries"):find({}, { projection = { _id = 1 } }) do codes[country._id] = true end
  return codes
end

-- The document that names a flag: its collection and its filter.
function flags.owner(db, flag)
  if flag.country then return db:collection "countries", { _id = flag.country } end
  return db:collection "regions", { _id = flag.region }
end

return flags
