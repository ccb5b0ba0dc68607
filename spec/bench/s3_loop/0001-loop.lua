-- What s3_floor.c does, as a step: BENCH_MODE is move, list, put, get, or clean; BENCH_FIRST and BENCH_SECOND are
-- its arguments.
local loops = {}

function loops.move(bucket, from, to)
  bucket:parallel(bucket:list(from), function(object)
    bucket:move(object.key, to .. object.key:sub(#from + 1), { overwrite = os.getenv "BENCH_OVERWRITE" == "yes" })
  end, { concurrency = 16 })
end

function loops.clean(bucket)
  bucket:delete_many(bucket:list())
end

function loops.list(bucket, prefix, path)
  local file <close> = assert(io.open(path, "w"))
  for object in bucket:list(prefix) do
    file:write(object.key, " ", object.size, " ", object.etag, "\n")
  end
end

function loops.put(bucket, key, path)
  bucket:put_file(key, path)
end

function loops.get(bucket, key, path)
  bucket:get_to_file(key, path)
end

return {
  id = "loop", from = "1.0.0", to = "1.0.1",
  up = function(ctx)
    loops[os.getenv "BENCH_MODE"](ctx.bucket, os.getenv "BENCH_FIRST", os.getenv "BENCH_SECOND")
  end,
}
