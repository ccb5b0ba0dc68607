-- `new NAME`: writes the file of the next step, in the folder and nowhere else, never over a file. Returns 0.
-- Errors: INVALID_OPTIONS for a name that no file can have; those of the chain, the new step in its place.
local core = require "smartmigration.core"
local loader = require "smartmigration.loader"
local process = require "smartmigration.process"
local text = require "smartmigration.text"

local FIRST_FROM = "1.0.0"
local DIGITS = 4 -- of the first file's number

local TEMPLATE = [[
---@type smartmigration.step
return {
  id = %s,
  from = %s,
  to = %s,
  description = %s,
  up = function(ctx)
    -- A step may run more than once, after a crash for one: write what can be done again.
    error(("step '%%s' is not written yet"):format(ctx.step.id))
  end,
}
]]

local function refuse(format, ...)
  core.raise("INVALID_OPTIONS", format:format(...))
end

-- What a file name is made of the step's id: letters, digits and what stands between them.
local function file_part(id)
  if id:find "[/\\%c]" then
    refuse("the name '%s' must not hold '/', '\\' or control characters: it is the step's id and names its file", text.escape(id))
  elseif not id:find "[%w\x80-\xff]" then
    refuse("the name '%s' must hold a letter or a digit", text.escape(id))
  end
  return (id:gsub("[^%w._\x80-\xff]+", "-"):gsub("^%-", ""):gsub("%-$", ""))
end

-- The names of the folder's step files, in order.
local function step_files(folder)
  local names, types = process.list_directory(folder)
  if not names then
    core.raise("STEP_LOAD_FAILED", types .. "; `smartmigration-lua init` makes it", { file = folder })
  end
  local files = {}
  for i, name in ipairs(names) do
    if loader.is_step_file(name, types[i]) then
      files[#files + 1] = name
    end
  end
  return files
end

-- The number of the next file, as wide as the folder's numbers.
local function next_number(files)
  local largest, width = 0, DIGITS
  for _, name in ipairs(files) do
    local digits = name:match "^%d+"
    local number = digits and math.tointeger(tonumber(digits))
    if number and number >= largest then
      largest, width = number, #digits
    elseif not number and name:byte() > ("9"):byte() then
      refuse("the file '%s' would stand behind any file with a number: give it a number, too", text.escape(name))
    end
  end
  return ("%0" .. width .. "d"):format(largest + 1)
end

-- The next version, as npm's semver has it: a pre-release leads to its release first.
local function raise_version(version, part)
  local major, minor, patch, rest = version:match "^(%d+)%.(%d+)%.(%d+)(.*)$"
  major, minor, patch = math.tointeger(major), math.tointeger(minor), math.tointeger(patch)
  local is_release = rest:sub(1, 1) ~= "-"
  if part == "major" then
    if is_release or minor > 0 or patch > 0 then
      major = major + 1
    end
    minor, patch = 0, 0
  elseif part == "minor" then
    if is_release or patch > 0 then
      minor = minor + 1
    end
    patch = 0
  elseif is_release then
    patch = patch + 1
  end
  return ("%d.%d.%d"):format(major, minor, patch)
end

local function description_of(id)
  local words = id:gsub("[-_]+", " ")
  return words:sub(1, 1):upper() .. words:sub(2)
end

return function(session)
  local options, values = session.options, session:settings()
  local id, folder = session.request.arguments[1], values.migrations
  if options.to and options.bump then
    refuse "--to and --bump both say what version the step leads to: give one"
  end
  local part = file_part(id)
  local files = step_files(folder)
  local migration = session:open({ offline = true }, #files == 0)
  local from = FIRST_FROM
  if #files > 0 then
    migration:validate()
    local steps = migration:steps()
    from = text.version(steps[#steps].to)
  end
  local to = values.to and text.version(values.to) or raise_version(from, values.bump)
  migration:add { id = id, from = from, to = to, up = function() end }
  migration:validate()

  local path = ("%s/%s-%s.lua"):format(folder, next_number(files), part)
  local quoted = {}
  for i, value in ipairs { id, from, to, description_of(id) } do
    quoted[i] = ("%q"):format(value)
  end
  local made, problem = process.create_file(path, TEMPLATE:format(table.unpack(quoted)))
  if made == nil then
    refuse("%s", text.escape(problem))
  elseif not made then
    refuse("the file '%s' is there already", text.escape(path))
  end
  session:result({ file = path, id = id, from_version = from, to_version = to },
    { { "file" }, { "id" }, { "from_version" }, { "to_version" } }, function()
      return { ("%s: from %s to %s"):format(text.escape(path), from, to) }
    end)
  return 0
end
