-- The documents that commands print against docs/schemas. One validator serves a spec file; it is started by the first document.
--
--   schema.check("run", text)                       -- raises when the text is not as docs/schemas/run.json says
--   local problem = schema.problem("run", text)     -- the same as an answer: nil, or what is wrong
--   schema.of(words, document)                      -- the name of the schema for a command line and what it printed
local process = require "spec.support.process"

local schema = {}

local validator

local function ask(line)
  validator.out = ""
  validator:write(line .. "\n")
  return validator:wait_for "^([^\n]*)\n"
end

local function start()
  if not validator then
    validator = process.start { "python3", "-W", "ignore", "spec/support/schema.py", "docs/schemas" }
    schema.names = validator:wait_for "ready ([^\n]*)\n"
  end
end

function schema.problem(name, text)
  start()
  local answer = ask(name .. " " .. text:gsub("%s+$", ""))
  return answer ~= "good" and answer or nil
end

function schema.check(name, text)
  local problem = schema.problem(name, text)
  if problem then
    error(("not as docs/schemas/%s.json says: %s\n%s"):format(name, problem, text), 0)
  end
end

-- A document with the result of a run is a run's, also where another command ran a step; with an error alone it is an error.
function schema.of(words, document)
  start()
  local name
  for _, word in ipairs(words) do
    if ("," .. schema.names:gsub(" ", "") .. ","):find("," .. word .. ",", 1, true) then
      name = name or word
    elseif word == "--dry-run" and name == "run" then
      name = "plan"
    end
  end
  if document.error then
    return document.stepsApplied and "run" or "error"
  end
  return name
end

return schema
