-- A program on a terminal of its own (terminal.py), whose width can be changed while it runs.
--
--   local child = terminal.start(40, command)      -- command: of spec.support.process; a child of it, all it shows is child.out
--   terminal.resize(child, 200); terminal.interrupt(child)
--   terminal.lines(text)                            -- what a person ends up seeing of it: lines, without what was drawn over
--   terminal.plain(text)                            -- without colours
local build = require "spec.support.build"
local process = require "spec.support.process"

local terminal = {}

terminal.ERASE = "\r\27[K"

function terminal.start(columns, command)
  local words = { "python3", build.root .. "/spec/support/terminal.py", columns, table.unpack(command) }
  words.env, words.cwd, words.limit = command.env, command.cwd, command.limit
  return process.start(words)
end

function terminal.run(columns, command)
  return terminal.start(columns, command):wait()
end

function terminal.resize(child, columns)
  child:write(columns .. "\n")
end

function terminal.interrupt(child)
  child:write "^C\n"
end

function terminal.plain(text)
  return (text:gsub("\27%[[%d;]*m", ""))
end

function terminal.lines(text)
  local lines = {}
  for line in (terminal.plain(text):gsub("\r\n", "\n") .. "\n"):gmatch "(.-)\n" do
    lines[#lines + 1] = line:gsub("^.*\r\27%[K", "")
  end
  return lines
end

return terminal
