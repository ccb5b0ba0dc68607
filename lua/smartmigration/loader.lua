-- Loads a folder of migration files: the `.lua` files of the folder itself, in natural order of their names, without
-- those that begin with `_` or `.`. A file returns a step or a list of steps, or uses the builder of the migration it
-- gets as `...`.
--
-- Users: init.lua. Errors: STEP_LOAD_FAILED { file, line?, cause? }. Files are text, run in an environment of their own
-- (environment.lua), and have no os.exit and debug.sethook; print goes to the migration's log.
local builder = require "smartmigration.builder"
local core = require "smartmigration.core"
local environment = require "smartmigration.environment"
local host = require "smartmigration.host"
local process = require "smartmigration.process"

local loader = {}

local NEITHER = "registers no step: return a step or a list of steps, or use the builder: local migration = ..."

local WAY_ON = "; `smartmigration-lua init` begins one, --dir names another"

local function refuse(file, what)
  core.raise("STEP_LOAD_FAILED", file .. ": " .. what, { file = file })
end

-- Whether an entry of a folder of migrations is a file of steps, or stands where one would.
function loader.is_step_file(name, kind)
  return name:find "^[^._].*%.lua$" ~= nil and kind ~= "directory"
end

-- Names of the folder's step files, in order.
local function list(folder)
  local names, types = process.list_directory(folder)
  if not names then
    core.raise("STEP_LOAD_FAILED", types .. WAY_ON, { file = folder })
  end
  local files = {}
  for i, name in ipairs(names) do
    if loader.is_step_file(name, types[i]) then
      if types[i] ~= "file" then
        refuse(folder .. "/" .. name, "is no file that can be read")
      end
      files[#files + 1] = name
    end
  end
  if #files == 0 then
    refuse(folder, "the folder holds no migration files" .. WAY_ON)
  end
  return files
end

local function append_list(migration, steps, file, append)
  for key in pairs(steps) do
    if math.type(key) ~= "integer" or key < 1 or key > #steps then
      refuse(file, ("a list of steps must not have the key '%s'"):format(tostring(key)))
    end
  end
  for i, step in ipairs(steps) do
    if type(step) ~= "table" then
      refuse(file, ("entry %d of the list is a %s, not a step"):format(i, type(step)))
    end
    append(migration, step)
  end
end

local function load_file(migration, file, env, append)
  local state = migration.state
  local before = #state.steps
  local chunk, checksum = host.load_file(file, "@" .. file, env)
  if not chunk then
    error(checksum, 0)
  end
  state.source = { file = file, checksum = checksum }
  local returned = chunk(migration)
  local _, unfinished = next(state.unfinished)
  if unfinished then
    refuse(file, builder.unfinished_text(unfinished))
  end
  if type(returned) == "table" and returned ~= migration then
    if returned[1] ~= nil then
      append_list(migration, returned, file, append)
    elseif next(returned) ~= nil then
      append(migration, returned)
    end
  elseif returned ~= nil and returned ~= migration then
    refuse(file, ("returns a %s, not a step or a list of steps"):format(type(returned)))
  end
  if #state.steps == before then
    refuse(file, NEITHER)
  end
end

-- Message and line of what was raised while `file` loaded. Lua shortens long paths, so they are put in again.
local function place(message, file)
  message = message:gsub("%s*\n%s*", "; ")
  local shown, line, rest = message:match "^(.-):(%d+): (.*)$"
  if shown and (shown == file or shown:sub(1, 3) == "..." and file:sub(-#shown + 3) == shown:sub(4)) then
    return ("%s:%s: %s"):format(file, line, rest), math.tointeger(line)
  end
  return message:find(file, 1, true) and message or file .. ": " .. message
end

local function raise_failure(failure, file)
  local is_object = type(failure) == "userdata"
  if is_object and failure.code == "STEP_LOAD_FAILED" then
    error(failure, 0)
  end
  local message, line = place(is_object and failure.message or tostring(failure), file)
  core.raise("STEP_LOAD_FAILED", message, {
    file = file, line = line,
    cause = is_object and { code = failure.code, message = failure.message, where = failure.where,
      traceback = failure.traceback } or nil,
  })
end

-- Adds the folder's steps to the migration by `append(migration, step)`.
function loader.load(migration, folder, append)
  if type(folder) ~= "string" or folder == "" then
    core.raise("STEP_LOAD_FAILED", ("load takes a folder's path, not %s"):format(
      folder == "" and "an empty string" or "a " .. type(folder)))
  end
  folder = folder:match "^(.-)/+$" or folder
  local current = folder
  local ok, failure = host.guard(function()
    local new_environment = environment.of_folder(folder)
    for _, name in ipairs(list(folder)) do
      current = folder .. "/" .. name
      load_file(migration, current, new_environment(), append)
    end
  end, migration.state.log)
  if not ok then
    raise_failure(failure, current)
  end
end

return loader
