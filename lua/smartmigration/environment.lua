-- What the files of one migrations folder see: a strict global environment for each file, and a `require` that looks
-- into the folder first. Users: loader.lua. Made anew for each load: modules of the folder are cached for a run, not for
-- the process.
--
-- Host globals can be read. Assigning in a file's main chunk declares a global of that file; assigning an undeclared
-- one elsewhere, or reading an undefined one, raises: two steps cannot talk through globals, and typos do not pass.
local host = require "smartmigration.host"

local globals, host_require = _G, require

local environment = {}

-- The metatable of all environments of a folder; `declared[env]` are names that were declared as nil.
local function new_metatable()
  local declared = setmetatable({}, { __mode = "k" })
  return {
    __name = "smartmigration.environment",
    __index = function(env, name)
      local value = globals[name]
      if value == nil and not (declared[env] and declared[env][name]) then
        error(("variable '%s' is not defined"):format(tostring(name)), 2)
      end
      return value
    end,
    __newindex = function(env, name, value)
      local names = declared[env]
      if not (names and names[name]) then
        local info = debug.getinfo(2, "S")
        if not info or info.what ~= "main" then
          error(("assignment to undeclared variable '%s': make it local"):format(tostring(name)), 2)
        end
        names = names or {}
        names[name], declared[env] = true, names
      end
      rawset(env, name, value)
    end,
  }
end

-- Without the templates that begin in the current directory, wherever that may be.
local function without_current_directory(path)
  local kept = {}
  for template in path:gmatch "[^;]+" do
    if template:sub(1, 2) ~= "./" then
      kept[#kept + 1] = template
    end
  end
  return table.concat(kept, ";")
end

local function require_of_host(name)
  local package = package
  local path, cpath = package.path, package.cpath
  local own_path, own_cpath = without_current_directory(path), without_current_directory(cpath)
  package.path, package.cpath = own_path, own_cpath
  local results = table.pack(pcall(host_require, name))
  -- A module may have set them for good.
  if package.path == own_path then
    package.path = path
  end
  if package.cpath == own_cpath then
    package.cpath = cpath
  end
  return table.unpack(results, 1, results.n)
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then
    file:close()
    return true
  end
end

local LOADING = {}

-- The `require` of a folder. Searched: what is compiled in, the folder, its lib/, then what the host would find.
local function new_require(folder, new_environment)
  local cache = {}

  local function load_from(path, name)
    local chunk, problem = host.load_file(path, "@" .. path, new_environment())
    if not chunk then
      error(("error loading module '%s': %s"):format(name, problem), 0)
    end
    cache[name] = LOADING
    local value = chunk(name, path)
    if value == nil then
      value = true
    end
    cache[name] = { value, path }
    return value, path
  end

  return function(name)
    if type(name) ~= "string" then
      error(("require takes a module's name, not a %s"):format(type(name)), 2)
    end
    local known = cache[name]
    if known == LOADING then
      error(("module '%s' requires itself, or failed before"):format(name), 2)
    elseif known then
      return known[1], known[2]
    end
    local tried = ""
    if not (name .. "."):find "^smartmigration%." then
      local relative = name:gsub("%.", "/")
      for _, path in ipairs { folder .. "/" .. relative .. ".lua", folder .. "/lib/" .. relative .. ".lua" } do
        if exists(path) then
          return load_from(path, name)
        end
        tried = tried .. "\n\tno file '" .. path .. "'"
      end
    end
    local ok, value, extra = require_of_host(name)
    if ok then
      return value, extra
    end
    local head = ("module '%s' not found:"):format(name)
    if type(value) == "string" and value:sub(1, #head) == head then
      error(head .. tried .. value:sub(#head + 1), 2)
    end
    error(value, 0)
  end
end

-- Returns a function that makes environments for files of `folder`.
function environment.of_folder(folder)
  local metatable = new_metatable()
  local folder_require
  local function new()
    local env = { require = folder_require }
    env._G = env
    return setmetatable(env, metatable)
  end
  folder_require = new_require(folder, new)
  return new
end

return environment
