-- What `validate { base = ref }` does: compares the steps of a folder with those that it had at a git ref. Steps added since
-- must be new at the end of the chain; those the ref had must be as they were. Old steps that were removed from the
-- beginning are pruned, which is no finding.
--
-- git puts the folder as it was into a temporary one, whose files are loaded as any migrations are. Users: init.lua.
-- Errors: INVALID_OPTIONS with details.reason ("git"), STEP_LOAD_FAILED.
local core = require "smartmigration.core"
local text = require "smartmigration.text"

local base = {}

local NOT_FOUND = 127

-- --------------------------------------------------------------------------- git

local function quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

-- stdout of a shell's command without its last line end; nil with what it said, and the exit status.
local function shell(command, errors)
  local pipe = assert(io.popen(command .. " 2>" .. quote(errors)))
  local out = pipe:read "a"
  local ok, _, status = pipe:close()
  if ok then
    return (out:gsub("\n$", ""))
  end
  local file <close> = assert(io.open(errors))
  return nil, file:read "a", status
end

-- Inside of a git hook its variables would lead elsewhere.
local GIT = "env -u GIT_DIR -u GIT_WORK_TREE -u GIT_PREFIX -u GIT_INDEX_FILE "

local Checkout = {}
Checkout.__index = Checkout

function Checkout:git(folder, words, variables)
  for i, word in ipairs(words) do
    words[i] = quote(word)
  end
  return shell(("%s %s git -C %s %s"):format(GIT, variables or "", quote(folder), table.concat(words, " ")),
    self.root .. "/errors")
end

local function refuse(format, ...)
  core.raise("INVALID_OPTIONS", format:format(...), { reason = "git" })
end

-- The same, and a failure is raised: "<what>: <what git said>".
function Checkout:must(what, folder, words, variables)
  local out, said, status = self:git(folder, words, variables)
  if not out and status == NOT_FOUND then
    refuse "validate with a base needs git, and there is none"
  elseif not out then
    refuse("%s: %s", what, text.escape((said:gsub("%s+$", ""))))
  end
  return out
end

function Checkout:__close()
  os.execute("rm -rf " .. quote(self.root))
end

-- The folder as it was at `ref`: { root (to be closed), folder, commit }; `folder` is nil when it was not there yet.
local function check_out(folder, ref)
  local root = shell("mktemp -d", "/dev/null")
    or refuse "no temporary folder can be made: see to TMPDIR, and that mktemp is there"
  local self = setmetatable({ root = root }, Checkout)
  local ok, failure = pcall(function()
    local shown = text.escape(folder)
    local top = self:must(("the folder '%s' is in no git repository"):format(shown), folder, { "rev-parse", "--show-toplevel" })
    local prefix = self:must(shown, folder, { "rev-parse", "--show-prefix" })
    -- With a dash in front it would be an option.
    self.commit = ref:sub(1, 1) ~= "-" and self:git(folder, { "rev-parse", "--verify", "--quiet", ref .. "^{commit}" })
    if not self.commit then
      refuse("git knows no commit '%s': fetch it first (a checkout of depth 1 has no other commits), or give another base",
        text.escape(ref))
    end
    local tree = self.commit .. ":" .. prefix
    if self:git(folder, { "rev-parse", "--verify", "--quiet", tree }) then
      local index = "GIT_INDEX_FILE=" .. quote(root .. "/index")
      self:must("git read-tree", top, { "read-tree", tree }, index)
      self:must("git checkout-index", top, { "checkout-index", "--all", "--prefix=" .. root .. "/folder/" }, index)
      self.folder = root .. "/folder"
    end
  end)
  if not ok then
    self:__close()
    error(failure, 0)
  end
  return self
end

-- ---------------------------------------------------------------------- comparing

local function name_of(file)
  return file and file:match "[^/]*$"
end

-- { id = step }, with its place among the steps.
local function by_id(steps)
  local found = {}
  for i, step in ipairs(steps) do
    found[step.id] = { step = step, at = i }
  end
  return found
end

-- How many of the base's first steps were pruned: all before the one that the chain begins with now.
local function pruned(was, is)
  local first = is[1] and by_id(was)[is[1].id]
  if not first then
    return 0
  end
  local now = by_id(is)
  for i = 1, first.at - 1 do
    if now[was[i].id] then
      return 0
    end
  end
  return first.at - 1
end

local function finding(kind, was, is, way_out)
  return {
    id = (is or was).id, kind = kind, file = is and is.file or was and name_of(was.file),
    recorded_from = was and was.from, recorded_to = was and was.to, chain_from = is and is.from, chain_to = is and is.to,
    recorded = kind == "changed" and was.checksum or nil, found = kind == "changed" and is.checksum or nil,
    against = "base", way_out = way_out,
  }
end

-- A new step that has taken the place of a lost one: the same versions, or the same content.
local function renamed_to(lost, is, before)
  for _, step in ipairs(is) do
    if not before[step.id] and (step.from == lost.from and step.to == lost.to or step.checksum == lost.checksum) then
      return step
    end
  end
end

local function compare_old(was, is, place, findings)
  local before, now, taken = by_id(was), by_id(is), {}
  local restore = ("git -C %s checkout %s -- "):format(quote(place.folder), quote(place.ref))
  for i = pruned(was, is) + 1, #was do
    local old = was[i]
    local new = now[old.id] and now[old.id].step
    if not new then
      local renamed = renamed_to(old, is, before)
      local found = finding("missing", old, nil, restore .. quote(name_of(old.file)))
      if renamed then
        taken[renamed.id] = true
        found.kind, found.renamed_to, found.file = "renamed", renamed.id, renamed.file
        found.way_out = ("id = %q in %s"):format(old.id, renamed.file)
      end
      findings[#findings + 1] = found
    elseif new.from ~= old.from or new.to ~= old.to then
      findings[#findings + 1] = finding("moved", old, new, restore .. quote(name_of(old.file)))
    elseif new.checksum ~= old.checksum then
      findings[#findings + 1] = finding("changed", old, new, restore .. quote(name_of(old.file)))
    end
  end
  return taken
end

-- A new step must stand behind the base's last one, and begin at no version that one of the base's begins at.
local function compare_new(was, is, taken, findings)
  local before, starts, last = by_id(was), {}, 0
  for i, step in ipairs(is) do
    if before[step.id] then
      last, starts[step.from] = i, true
    end
  end
  local behind = last > 0 and is[last]
  for i, step in ipairs(is) do
    if not before[step.id] and not taken[step.id] and behind and (i < last or starts[step.from]) then
      findings[#findings + 1] = finding("late-inserted", nil, step,
        ("from = %q, in a file whose name sorts behind %s"):format(behind.to, name_of(behind.file)))
    end
  end
end

-- The steps with what can be compared. Nothing has judged the chain yet, so anything may be missing.
local function comparable(steps)
  local list = {}
  for _, step in ipairs(steps) do
    if step.id ~= nil then
      list[#list + 1] = {
        id = tostring(step.id), from = text.version(step.from or "?"), to = text.version(step.to or "?"), file = step.file,
        checksum = step.checksum,
      }
    end
  end
  return list
end

-- What differs between the steps of the base and those that are: { id, file, from, to, checksum } each.
local function compare(was, is, place)
  was, is = comparable(was), comparable(is)
  local findings = {}
  local taken = compare_old(was, is, place, findings)
  compare_new(was, is, taken, findings)
  return findings
end

-- Compares the loaded `steps` of `folder` with those at `ref`; `load(folder)` loads another one's. Returns the findings, and
-- { ref, commit, steps } of the base.
function base.check(folder, steps, ref, load)
  local was <close> = check_out(folder, ref)
  local old = {}
  if was.folder then
    local ok, loaded = pcall(load, was.folder)
    if not ok and type(loaded) == "userdata" then
      local message = loaded.message:gsub(was.folder:gsub("%p", "%%%0"), function() return folder end)
      core.raise("STEP_LOAD_FAILED", ("the folder does not load as it was at %s: %s"):format(text.escape(ref), message),
        { base = ref })
    elseif not ok then
      error(loaded, 0)
    end
    old = loaded
  end
  return compare(old, steps, { folder = folder, ref = ref }), { ref = ref, commit = was.commit, steps = #old }
end

return base
