-- Sessions of people with the command line, as spec/golden/*.session has them: what was typed, and what the real binary
-- answered, stdout and stderr as a terminal would show them, with the exit status in brackets unless it is 0.
--
-- A session: "$ " begins a command of bash, "> " goes on with it, "#" is a comment, the rest is output. Times, durations, ids and
-- places are replaced by their kind, and blanks between columns by two. To take in what the binary says now, after reading
-- the difference that it makes:  GOLDEN=update spec/run spec/golden_spec.lua
local build = require "spec.support.build"
local cli = require "spec.support.cli"
local process = require "spec.support.process"
local server = require "spec.support.server"

local FOLDER = build.root .. "/spec/golden"

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

-- { { head = lines as they stand, command =, expected = text } }, and what stands before the first command.
local function parse(text)
  local turns, preface, turn = {}, {}, nil
  for line in text:gmatch "([^\n]*)\n" do
    local typed, more = line:match "^%$ (.*)", line:match "^> (.*)"
    if typed then
      turn = { head = { line }, command = typed, expected = "", comments = {} }
      turns[#turns + 1] = turn
    elseif not turn then
      preface[#preface + 1] = line
    elseif more then
      turn.head[#turn.head + 1], turn.command = line, turn.command .. "\n" .. more
    elseif line:find "^#" then
      turn.comments[#turn.comments + 1] = line
    else
      turn.expected = turn.expected .. line .. "\n"
    end
  end
  return turns, preface
end

local function literally(text)
  return (text:gsub("%p", "%%%0"))
end

local function normal(text, here)
  for _, pair in ipairs {
    { "%x+@[%w._-]+/[%w/-]+", "HOLDER" },
    { "sha256:%x+", "sha256:DIGEST" }, { ("%x"):rep(40), "COMMIT" }, { ("%x"):rep(32), "RUN" },
    { "%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ", "TIME" },
    { literally(here.database), "app" }, { literally(here.folder), "FOLDER" },
    { "%f[%d]%d+ ms", "N ms" }, { "%f[%d]%d+%.%d s%f[%W]", "N ms" },
    { "([dD]uration_?[mM]s\"?[:=])%d+", "%1N" }, { "(totalDurationMs\":)%d+", "%1N" },
    { "  %w+ on [%w._-]+", "  USER on HOST" }, { '"host":"[^"]*"', '"host":"HOST"' }, { '"osUser":"[^"]*"', '"osUser":"USER"' },
    { '"fence":%d+', '"fence":N' }, { "127%.0%.0%.1:%d%d%d%d%d?", "127.0.0.1:PORT" },
    { "(lib%w+) [%d.]+", "%1 N" }, { "MongoDB %d+%.%d+%.%d+", "MongoDB N" }, { "(lua) [%d.]+", "%1 N" },
    { "(%S)   *", "%1  " },
  } do
    text = text:gsub(pair[1], pair[2])
  end
  return text
end

local function answer(here, command)
  local spoken = here:command {}
  spoken.env.PATH = here.folder .. "/bin:" .. os.getenv "PATH"
  local result = process.run { "bash", "-c", "exec 2>&1\n" .. command, env = spoken.env, cwd = here.folder }
  local out = normal(result.out, here)
  if out ~= "" and out:sub(-1) ~= "\n" then out = out .. "\n" end
  return result.status == 0 and out or ("%s[%s]\n"):format(out, result.status or "signal " .. result.signal)
end

local function play(name)
  local path = ("%s/%s.session"):format(FOLDER, name)
  local turns, preface = parse(read(path))
  local database = server.database()
  local env = { SMARTMIGRATION_MONGO_URI = server.uri, SMARTMIGRATION_MONGO_DB = database, LC_ALL = "C" }
  local here <close> = cli.place({}, { env = env })
  here.database = database
  process.run { "mkdir", here.folder .. "/bin", here.folder .. "/migrations" }
  process.run { "ln", "-s", cli.binary, here.folder .. "/bin/smartmigration-lua" }
  local spoken = table.concat(preface, "\n") .. "\n"
  for _, turn in ipairs(turns) do
    local said = answer(here, turn.command)
    if os.getenv "GOLDEN" ~= "update" then
      assert.are.equal(turn.expected, said, name .. ": " .. turn.command)
    end
    local comments = #turn.comments > 0 and table.concat(turn.comments, "\n") .. "\n" or ""
    spoken = spoken .. table.concat(turn.head, "\n") .. "\n" .. said .. comments
  end
  if os.getenv "GOLDEN" == "update" then
    local file <close> = assert(io.open(path, "wb"))
    file:write(spoken)
  end
end

describe("a session", function()
  local names = {}
  for path in process.run({ "ls", FOLDER }).out:gmatch "([%w-]+)%.session\n" do names[#names + 1] = path end

  for _, name in ipairs(names) do
    it("goes as it always went: " .. name, function() play(name) end)
  end

  it("is there for every command, in success and failure", function()
    local all = {}
    for _, name in ipairs(names) do all[#all + 1] = read(("%s/%s.session"):format(FOLDER, name)) end
    for _, turn in ipairs(parse(table.concat(all))) do
      local command = turn.command:match "smartmigration%-lua ([%l-]+)" or ""
      all[command] = all[command] or {}
      all[command][turn.expected:find "%[%d+%]\n$" and "failure" or "success"] = true
    end
    for _, command in ipairs(cli.commands) do
      assert.are.same({ success = true, failure = true }, all[command.name], command.name)
    end
  end)
end)
