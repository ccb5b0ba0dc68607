-- `init`: the files of a new project, in the working directory. What is there is left as it is. Returns 0.
-- Errors: INVALID_OPTIONS when something cannot be written.
local config = require "smartmigration.config"
local core = require "smartmigration.core"
local library = require "smartmigration.cli.library"
local loader = require "smartmigration.loader"
local process = require "smartmigration.process"
local text = require "smartmigration.text"

local LIBRARY = ".smartmigration/library"
local EXAMPLE = "0001-lowercase-emails.lua"

local CONFIG = [[
-- Settings of smartmigration-lua. Flags and environment variables go before them.
return {
  migrations = %s,
  -- Where the data is comes from SMARTMIGRATION_MONGO_URI and SMARTMIGRATION_S3_BUCKET. What is no secret may stand
  -- here, too:
  --   mongo = { uri = "mongodb://localhost:27017/app?replicaSet=rs0" },
  --   s3 = { bucket = "uploads" },
  -- Data without a ledger is not touched: `smartmigration-lua baseline VERSION` says what version it has.
  unversioned_data = "refuse",
}
]]

local STEP = [[
-- A first example: a step that may run twice, since it sets what must be. Change it, or remove the file.
---@type smartmigration.step
return {
  id = "lowercase-emails",
  from = "1.0.0",
  to = "1.1.0",
  description = "Lowercase the emails of the example's users",
  up = function(ctx)
    local users = ctx.mongo:collection "example_users"
    local result = users:update_many({}, { { ["$set"] = { email = { ["$toLower"] = "$email" } } } })
    ctx.log:info("emails are in lower case", { changed = result.modified_count })
  end,
}
]]

local LUARC = [[
{
  "runtime.version": "Lua 5.4",
  "workspace.library": [%s],
  "workspace.checkThirdParty": false,
  "diagnostics.globals": ["env"]
}
]]

-- What a file of migrations assigns in its main chunk is a global of that file alone.
local LUACHECK = [[
exclude_files = { ".smartmigration" }
files[%s] = { read_globals = { "env" } }
files[%s] = { std = "lua54", allow_defined_top = true, max_line_length = false }
]]

local function refuse(problem)
  core.raise("INVALID_OPTIONS", text.escape(problem))
end

-- Makes a folder and those above it.
local function make_folders(path)
  for at, next_byte in path:gmatch "()/+([^/]?)" do
    if at > 1 and next_byte ~= "" then
      local made, problem = process.make_directory(path:sub(1, at - 1))
      if made == nil then
        refuse(problem)
      end
    end
  end
  local made, problem = process.make_directory(path)
  if made == nil then
    refuse(problem)
  end
end

local function has_steps(folder)
  local names, types = process.list_directory(folder)
  for i, name in ipairs(names or {}) do
    if loader.is_step_file(name, types[i]) then
      return true
    end
  end
  return false
end

local function quote(value)
  return ("%q"):format(value)
end

return function(session)
  local values = session:settings()
  local folder = values.migrations
  local config_file = values.config or config.DEFAULT_FILE
  local luacheck = LUACHECK:format(quote(config_file), quote(folder))
  local written, kept = {}, {}

  local function write(path, content)
    local made, problem = process.create_file(path, content)
    if made == nil then
      refuse(problem)
    end
    local list = made and written or kept
    list[#list + 1] = path
    return made
  end

  make_folders(folder)
  write(config_file, CONFIG:format(quote(folder)))
  if not has_steps(folder) then
    write(folder .. "/" .. EXAMPLE, STEP)
  end
  write(".luarc.json", LUARC:format(require("smartmigration.report.json").line(LIBRARY)))
  local has_luacheck = not write(".luacheckrc", 'std = "lua54"\n' .. luacheck)
  local names = {}
  for name in pairs(library) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local path = LIBRARY .. "/" .. name
    make_folders(path:match "^(.*)/")
    write(path, library[name])
  end

  session:result({ written = written, kept = kept }, { { "written", list = {} }, { "kept", list = {} } }, function()
    local lines = {}
    for _, path in ipairs(written) do
      lines[#lines + 1] = "wrote " .. text.escape(path)
    end
    for _, path in ipairs(kept) do
      lines[#lines + 1] = "kept  " .. text.escape(path)
    end
    if has_luacheck then
      lines[#lines + 1] = ".luacheckrc is yours; migrations need these lines in it:"
      for line in luacheck:gmatch "[^\n]+" do
        lines[#lines + 1] = "  " .. text.escape(line)
      end
    end
    return lines
  end)
  return 0
end
