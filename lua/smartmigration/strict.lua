-- Objects that know their methods: another name raises an argument error with a suggestion. Users: the migration object and
-- its builder of steps.
local core = require "smartmigration.core"

local strict = {}

-- The __index of objects that messages call `kind`.
function strict.index(kind, methods)
  local names = {}
  for name in pairs(methods) do
    names[#names + 1] = name
  end
  table.sort(names)
  return function(_, name)
    local method = methods[name]
    if method == nil then
      local near = core.suggest(tostring(name), names)
      core.raise_argument(("%s has no method '%s'%s"):format(kind, tostring(name),
        near and ("; did you mean '%s'?"):format(near) or ""))
    end
    return method
  end
end

-- Makes each method say so when it is called with a dot: what it gets first is then no object of the class, whose
-- metatable has `class` as its __metatable. `before` is what the right call begins with.
function strict.called_with_colon(class, methods, before)
  for name, method in pairs(methods) do
    methods[name] = function(self, ...)
      if getmetatable(self) ~= class then
        core.raise_argument(("write %s:%s(...) with a colon"):format(before, name))
      end
      return method(self, ...)
    end
  end
end

-- The __newindex of such objects.
function strict.newindex(kind)
  return function(_, name)
    core.raise_argument(("%s is read-only: cannot set '%s'"):format(kind, tostring(name)))
  end
end

return strict
