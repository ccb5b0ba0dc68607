-- What lua/api documents, for the specs that hold it against the running module.
--
--   api.classes, api.modules     by name; a module's name is what require takes
--   api.types                    { name = true }: classes, aliases, modules
--   api.entries                  list of { owner = name of the class or module, data = method or function }
local reference = assert(loadfile "scripts/reference.lua")()
local classes, modules, types, entries = {}, {}, {}, {}
for _, section in ipairs(reference.load ".") do
  for _, alias in ipairs(section.aliases or {}) do types[alias.name] = true end
  for _, class in ipairs(section.classes) do
    assert(not classes[class.name], "two classes are called " .. class.name)
    classes[class.name], types[class.name] = class, true
    for _, method in ipairs(class.methods or {}) do
      entries[#entries + 1] = { owner = class.name, data = method }
    end
  end
  for _, module in ipairs(section.modules or {}) do
    modules[module.path or "smartmigration." .. module.name], types[module.name] = module, true
    for _, entry in ipairs(module.functions) do entries[#entries + 1] = { owner = module.name, data = entry } end
  end
end

local function names_of(list)
  local names = {}
  for _, item in ipairs(list or {}) do
    names[#names + 1] = type(item) == "string" and reference.parse_field(item).name or item.name
  end
  table.sort(names)
  return names
end

-- Every option that a class of options has, its parents' included: { name = true }.
local function options_of(class, into)
  into = into or {}
  for _, parent in ipairs(class.parents or {}) do options_of(classes[parent], into) end
  for _, name in ipairs(names_of(class.fields)) do into[name] = true end
  return into
end

-- The names of a class's methods, its parents' included.
local function methods_of(class)
  local names = names_of(class.methods)
  for _, parent in ipairs(class.parents or {}) do
    for _, name in ipairs(methods_of(classes[parent])) do names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

-- The class of options that a method takes, and the place of the argument.
local function options_argument(entry)
  for i, text in ipairs(entry.params or {}) do
    for name in reference.parse_field(text).type:gmatch "@([%w_.]+)" do
      local class = classes[name]
      if class and class.kind == "options" then return class, i end
    end
  end
end

return {
  reference = reference, classes = classes, modules = modules, types = types, entries = entries, names_of = names_of,
  methods_of = methods_of, options_of = options_of, options_argument = options_argument,
}
