-- `import-ledger`: begins a ledger with what another tool has applied. Returns 0; refusals are raised.
local core = require "smartmigration.core"
local report = require "smartmigration.report.operations"

-- { FILE = STEP-ID } of the words of --map.
local function read_map(words)
  local map = {}
  for _, word in ipairs(words or {}) do
    local file, id = word:match "^([^=]+)=(.+)$"
    if not file then
      core.raise("INVALID_OPTIONS", "--map takes FILE=STEP-ID")
    elseif map[file] and map[file] ~= id then
      core.raise("INVALID_OPTIONS", "--map names a file twice")
    end
    map[file] = id
  end
  return map
end

return function(session)
  local options = session.options
  if not options.from then
    core.raise("INVALID_OPTIONS", "import-ledger needs --from migrate-mongo: whose record it is to read")
  end
  local map = read_map(options.map)
  local migration = session:open_for_operator()
  local result = migration:import_ledger {
    from = options.from, collection = options.collection, map = map, dry_run = options.dry_run,
  }
  session:result(result, report.IMPORT, function()
    return report.import(result, session.out)
  end)
  return 0
end
