-- The loops of driver_floor.c as a step: BENCH_MODE is read, project or transform; or server_batches, which is read with the
-- batches that the server makes by itself, of up to 16 MiB.
local byte = string.byte

local function digest(n, name)
  return n * byte(name, n % #name + 1)
end

local function read(items, filter, options)
  local sum = 0
  for doc in items:find(filter, options) do
    sum = sum + digest(doc.n, doc.name)
  end
  return sum
end

local function transform(items, filter, options, tag)
  local sum = 0
  local writer <close> = items:bulk_writer()
  for doc in items:find(filter, options) do
    local n, name = doc.n, doc.name
    sum = sum + digest(n, name)
    writer:update_one({ _id = doc._id }, { ["$set"] = { label = tag .. ":" .. n .. ":" .. name:lower() } })
  end
  return sum
end

return {
  id = "loop", from = "1.0.0", to = "1.0.1",
  up = function(ctx)
    local mode = os.getenv "BENCH_MODE"
    local items = ctx.mongo:client():database(os.getenv "BENCH_DATABASE"):collection "items"
    local filter = { n = { ["$lt"] = math.tointeger(os.getenv "BENCH_COUNT") } }
    local options = {}
    if mode ~= "server_batches" then options.batch_size = 1000 end
    if mode == "project" or mode == "transform" then options.projection = { _id = 1, n = 1, name = 1 } end
    local loop = mode == "transform" and transform or read
    io.stdout:write(loop(items, filter, options, os.getenv "BENCH_TAG"), "\n")
  end,
}
