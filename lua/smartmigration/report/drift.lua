-- Lines about drift for people: which step, in which file, between which versions, and what to do. Input: the list `drift` of
-- validate and status. Pure. Users: report/status.lua.
local text = require "smartmigration.text"

local drift = {}

local function range(from, to)
  return ("%s -> %s"):format(text.escape(from or "?"), text.escape(to or "?"))
end

-- kind = { what happened, what to do before the command, what the command does }
local LEDGER = {
  changed = function(_, was)
    return ("was changed after it was applied (%s)"):format(was), "put the file back as it was, or accept it"
  end,
  missing = function(_, was)
    return ("was applied (%s) and is not in the chain any more"):format(was),
      "put its file back, or, if it was removed or renamed on purpose, take it out of the record"
  end,
  ["late-inserted"] = function(_, _, now)
    return ("(%s) stands below the version of the data and was never applied"):format(now),
      "give it versions behind the chain's end, or, if its work is done, record it as applied"
  end,
  moved = function(_, was, now)
    return ("was applied as %s and the chain has it as %s"):format(was, now),
      "put the versions back as they were, or make the record agree"
  end,
  ahead = function(_, was)
    return ("was applied (%s) and is about to run again"):format(was), "to let it run"
  end,
}

local BASE = {
  changed = function(_, was)
    return ("(%s) was changed since the base"):format(was), "leave it as it was, and write a new step"
  end,
  missing = function(_, was)
    return ("(%s) was removed since the base"):format(was), "put it back, or take in the base first if it was added there"
  end,
  renamed = function(found, was)
    return ("(%s) was renamed to '%s' since the base"):format(was, text.escape(found.renamed_to)), "keep its id"
  end,
  moved = function(_, was, now)
    return ("was %s at the base and is %s"):format(was, now), "put its versions back"
  end,
  ["late-inserted"] = function(_, _, now)
    return ("(%s) is new and does not stand behind all steps of the base"):format(now), "move it to the end"
  end,
}

local function line(found, style)
  local about = (found.against == "base" and BASE or LEDGER)[found.kind]
  local was = range(found.recorded_from, found.recorded_to)
  local what, advice = about(found, was, range(found.chain_from, found.chain_to))
  return ("%s: %s %s%s; %s: %s"):format(style:paint("red", "drift"), text.escape(found.id), what,
    found.file and ", " .. text.escape(found.file) or "", advice, text.escape(found.way_out))
end

function drift.lines(list, style)
  local lines = {}
  for i, found in ipairs(list) do
    lines[i] = line(found, style)
  end
  return lines
end

return drift
