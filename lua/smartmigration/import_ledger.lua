-- What `import_ledger` does: reads another tool's record of applied migrations and begins a ledger with them. That record is
-- read, and never written.
--
-- Known tools: migrate-mongo, whose collection `changelog` has { fileName, appliedAt, fileHash?, migrationBlock? } for each
-- applied file. A file stands for the steps of the migration file that has its name without the extension, or for the step
-- with that id, or for the one that `map` names.
-- Users: operations.lua. Errors: INVALID_OPTIONS with details.reason, and those of reading.
local bson = require "smartmigration.bson"
local core = require "smartmigration.core"
local text = require "smartmigration.text"

local import_ledger = {}

local TOOLS = { "migrate-mongo" }
local NAMED = 20 -- files in a message; the details have all

local function refuse(reason, details, format, ...)
  details.reason = reason
  core.raise("INVALID_OPTIONS", format:format(...), details)
end

local function check_tool(from)
  if from ~= TOOLS[1] then
    refuse("unknown-tool", {}, "what can be imported is the record of %s (option 'from', --from), not %s", TOOLS[1],
      from == nil and "of none" or "of '" .. text.escape(from) .. "'" .. text.did_you_mean(core.suggest(from, TOOLS)))
  end
end

local function base_name(file)
  return (file:match "[^/]*$":gsub("%.[^.]+$", ""))
end

-- ---------------------------------------------------------------------- reading

local function read_collection(database, name, place)
  local applied = {}
  for document in database:collection(name):find({}, { sort = { fileName = 1 } }) do
    local file, at = document.fileName, document.appliedAt
    if type(file) ~= "string" or bson.type_of(at) ~= "date" then
      refuse("not-a-changelog", {}, "%s is no changelog of migrate-mongo: the document with _id %s lacks %s", place,
        text.escape(tostring(document._id)), type(file) ~= "string" and "a fileName" or "the date appliedAt")
    end
    applied[#applied + 1] = { file = file, at_ms = at.ms }
  end
  return applied
end

-- The applied files, and how the collection is called. `mongo` is what the migration was given: { uri =, name =, database = }.
local function read_changelog(mongo, name)
  if not (mongo.uri or mongo.database) then
    refuse("no-mongo", {}, "the changelog of migrate-mongo is in MongoDB: give mongo.uri besides the ledger's bucket")
  end
  if mongo.database then
    local place = mongo.database.name .. "." .. name
    return read_collection(mongo.database, name, place), place
  end
  local client <close> = require("smartmigration.mongo").connect(mongo.uri)
  local database = client:database(mongo.name)
  local place = database.name .. "." .. name
  local ok, applied = pcall(read_collection, database, name, place)
  if not ok then
    if type(applied) == "userdata" and applied.category == "network" then
      core.raise("CONNECTION_FAILED", applied.message)
    end
    error(applied, 0)
  end
  return applied, place
end

-- --------------------------------------------------------------------- matching

-- The ids of steps by what stands for them: base name of their file, and id.
local function index(steps)
  local by_file, by_id, ids = {}, {}, {}
  for i, step in ipairs(steps) do
    ids[i], by_id[step.id] = step.id, { step.id }
    if step.file then
      local base = base_name(step.file)
      by_file[base] = by_file[base] or {}
      table.insert(by_file[base], step.id)
    end
  end
  return by_file, by_id, ids
end

local function is_same(left, right)
  return table.concat(left, "\0") == table.concat(right, "\0")
end

-- What a file stands for: a list of ids; nil with the reason why not.
local function match(file, map, by_file, by_id)
  if map[file] then
    return by_id[map[file]]
  end
  local base = base_name(file)
  local of_file, of_id = by_file[base], by_id[base]
  if of_file and of_id and not is_same(of_file, of_id) then
    return nil, "stands for two"
  end
  return of_file or of_id, "matches no step"
end

local function check_map(map, applied, by_id, ids)
  local files = {}
  for i, entry in ipairs(applied) do
    files[i], files[entry.file] = entry.file, true
  end
  for file, id in pairs(map) do
    if type(file) ~= "string" or type(id) ~= "string" then
      refuse("bad-map", {}, "map (--map) takes FILE=STEP-ID")
    elseif not files[file] then
      refuse("unknown-file", {}, "map (--map) names '%s', which the changelog does not%s", text.escape(file),
        text.did_you_mean(core.suggest(file, files)))
    elseif not by_id[id] then
      refuse("unknown-step", {}, "map (--map) names the step '%s', which is not in the chain%s", text.escape(id),
        text.did_you_mean(core.suggest(id, ids)))
    end
  end
end

local function refuse_unmatched(unmatched, place)
  local named, files = {}, {}
  for i, entry in ipairs(unmatched) do
    files[i] = entry.file
    if i <= NAMED then
      named[i] = ("'%s' %s"):format(text.escape(entry.file), entry.why)
    end
  end
  if #unmatched > NAMED then
    named[#named + 1] = ("and %d more"):format(#unmatched - NAMED)
  end
  refuse("unmatched", { files = bson.array(files) },
    "%s has applied files that stand for no step of this chain: %s; say which step each stands for: --map '%s=STEP-ID'",
    place, table.concat(named, ", "), text.escape(files[1]))
end

-- { step_id =, applied_at_ms = } for each step that an applied file stands for; the latest where several do.
local function steps_of(applied, steps, map, place)
  local by_file, by_id, ids = index(steps)
  check_map(map, applied, by_id, ids)
  local found, unmatched, list = {}, {}, {}
  for _, entry in ipairs(applied) do
    local matched, why = match(entry.file, map, by_file, by_id)
    if not matched then
      unmatched[#unmatched + 1] = { file = entry.file, why = why }
    end
    for _, id in ipairs(matched or {}) do
      if not found[id] then
        found[id] = { step_id = id, applied_at_ms = entry.at_ms }
        list[#list + 1] = found[id]
      end
      found[id].applied_at_ms = math.max(found[id].applied_at_ms, entry.at_ms)
    end
  end
  if #unmatched > 0 then
    refuse_unmatched(unmatched, place)
  end
  return list
end

-- Imports into `engine`, whose chain are `steps` ({ id, file } each). `settings`: { from =, collection =, map =, dry_run = }.
function import_ledger.run(engine, steps, mongo, settings)
  check_tool(settings.from)
  engine:validate_chain()
  local applied, place = read_changelog(mongo, settings.collection or "changelog")
  if #applied == 0 then
    refuse("nothing-to-import", {}, "%s holds no applied migration: check the database and the collection's name "
      .. "(option 'collection', --collection)", place)
  end
  local list = steps_of(applied, steps, settings.map or {}, place)
  local result = engine:import(list, ("%s %s"):format(settings.from, place), settings.dry_run)
  result.source, result.files = place, #applied
  return result
end

return import_ledger
