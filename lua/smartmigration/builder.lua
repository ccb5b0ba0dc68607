-- The builder of steps: migration:step("id"):from("1.0.0"):to("1.1.0"):resumable():transaction():up(function(ctx) … end).
-- `up` registers the step and returns the migration. Users: init.lua. What is set is checked with the chain.
local strict = require "smartmigration.strict"

local builder = {}

local Builder = {}

local function setter(name)
  Builder[name] = function(self, value)
    self.step[name] = value
    return self
  end
end

setter "from"
setter "to"
setter "description"
setter "compatible_from"

local function switch(name)
  Builder[name] = function(self, value)
    self.step[name] = value == nil or value
    return self
  end
end

switch "resumable"
switch "transaction"

function Builder:up(handler)
  self.step.up = handler
  self.migration.state.unfinished[self.step] = nil
  self.append(self.migration, self.step)
  return self.migration
end

strict.called_with_colon("smartmigration.step", Builder, 'm:step("id")')

local meta = { __name = "smartmigration.step", __metatable = "smartmigration.step", __index = strict.index("step", Builder) }

-- `append(migration, step)` registers. A step that is never ended by `up` would be missing in silence, so the migration
-- keeps it.
function builder.new(migration, id, append)
  local self = setmetatable({ migration = migration, append = append, step = { id = id } }, meta)
  migration.state.unfinished[self.step] = self
  return self
end

-- One line on a step that was begun and not ended.
function builder.unfinished_text(unfinished)
  return ("step '%s' has no up: end it with :up(function(ctx) ... end)"):format(tostring(unfinished.step.id))
end

return builder
