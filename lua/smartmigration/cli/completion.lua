-- `completion bash|zsh|fish`: the script for that shell. `completion steps`: the ids of the folder's steps, a line each, which
-- the scripts ask for. Returns 0.
local core = require "smartmigration.core"
local text = require "smartmigration.text"

local SHELLS = { "bash", "zsh", "fish" }

local function steps_of(session)
  local migration = session:open { offline = true }
  local ids = {}
  for i, step in ipairs(migration:steps()) do
    ids[i] = tostring(step.id)
  end
  session:result({ steps = ids }, { { "steps", list = {} } }, function()
    return ids
  end)
  return 0
end

return function(session)
  local shell = session.request.arguments[1]
  if shell == "steps" then
    return steps_of(session)
  end
  for _, known in ipairs(SHELLS) do
    if known == shell then
      local script = require("smartmigration.cli.shells." .. shell)(require "smartmigration.cli.words")
      session:result({ shell = shell, script = script }, { { "shell" }, { "script" } }, function()
        return { script }
      end)
      return 0
    end
  end
  core.raise("INVALID_OPTIONS", ("completion is for bash, zsh and fish, not '%s'%s"):format(text.escape(shell),
    text.did_you_mean(core.suggest(shell, SHELLS))))
end
