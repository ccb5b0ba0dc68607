-- GridFS buckets, against a real server. That other drivers read and write the same files follows from the layout checked here.
local bson = require "smartmigration.bson"
local migrations = require "spec.support.migrations"
local server = require "spec.support.server"
local support = require "spec.support.mongo"

local caught = support.caught

describe("a gridfs bucket", function()
  local db, bucket

  before_each(function()
    db = server.open(server.database())
    bucket = db:gridfs()
  end)

  local function chunks() return db:collection("fs.chunks"):count() end

  it("stores files as all drivers do, and makes the indexes once", function()
    local text = ("0123456789"):rep(30000)
    local id = bucket:upload("digits.txt", text, { metadata = { kind = "test" } })
    assert.equal("objectid", bson.type_of({ id = id }, "id"))
    local file = db:collection("fs.files"):find_one()
    assert.same({ "_id", "length", "chunkSize", "uploadDate", "filename", "metadata" }, (function()
      local keys = {}
      for key in pairs(file) do keys[#keys + 1] = key end
      return keys
    end)())
    assert.equal(300000, file.length)
    assert.equal(255 * 1024, file.chunkSize)
    assert.equal("int32", bson.type_of(file, "chunkSize"))
    assert.equal("date", bson.type_of(file, "uploadDate"))
    assert.equal("test", file.metadata.kind)
    local first, second = table.unpack(db:collection("fs.chunks"):find({}, { sort = { n = 1 } }):all())
    assert.equal(id, first.files_id)
    assert.equal("int32", bson.type_of(first, "n"))
    assert.equal(0, first.data.subtype)
    assert.equal(255 * 1024, #first.data.data)
    assert.equal(300000 - 255 * 1024, #second.data.data)
    local index = db:collection("fs.chunks"):list_indexes():all()[2]
    assert.equal("files_id_1_n_1", index.name)
    assert.is_true(index.unique)
    assert.same({ "_id_", "filename_1_uploadDate_1" }, db:collection("fs.files"):index_names())
    assert.equal(text, bucket:download(id))
  end)

  it("leaves the indexes of a bucket in use alone", function()
    db:collection("fs.files"):insert_one { length = 0, chunkSize = 1 }
    bucket:upload("x", "x")
    assert.same({ "_id_" }, db:collection("fs.chunks"):index_names())
  end)

  it("takes a string, a function or an object to read, and gives a string, or to a function or an object to write", function()
    local text = ("abcdefg"):rep(100)
    local small = db:gridfs { name = "small", chunk_size = 64 }
    assert.equal("small", small.name)
    local path = os.tmpname()
    do
      local file <close> = assert(io.open(path, "wb"))
      file:write(text)
    end
    local at = 0
    local file <close> = assert(io.open(path, "rb"))
    local from = {
      text,
      function()
        at = at + 100
        if at <= #text then return text:sub(at - 99, at) end
      end,
      file,
    }
    for _, source in ipairs(from) do
      local id = small:upload("f", source)
      assert.equal(text, small:download(id))
      local parts = {}
      assert.equal(#text, small:download(id, function(part) parts[#parts + 1] = part end))
      assert.equal(11, #parts)
      assert.equal(text, table.concat(parts))
      local to <close> = assert(io.open(path .. ".out", "w+b"))
      assert.equal(#text, small:download(id, to))
      to:seek "set"
      assert.equal(text, to:read "a")
    end
    local copy <close> = small:open_download(small:find_one()._id)
    assert.equal(text, small:download(small:upload("copy", copy)))
    os.remove(path)
    os.remove(path .. ".out")
  end)

  it("stores nothing and a chunk's worth exactly", function()
    local small = db:gridfs { chunk_size = 4 }
    for size, count in pairs { [0] = 0, [3] = 1, [4] = 1, [5] = 2, [8] = 2 } do
      local text = ("x"):rep(size)
      local id = small:upload("f", text)
      assert.equal(count, db:collection("fs.chunks"):count { files_id = id })
      assert.equal(text, small:download(id))
    end
  end)

  it("keeps more chunks than are sent together in order", function()
    local small = db:gridfs { chunk_size = 10 }
    local parts = {}
    for i = 1, 2500 do parts[i] = ("%010d"):format(i) end
    local text = table.concat(parts)
    assert.equal(text, small:download(small:upload("f", text)))
    assert.equal(2500, chunks())
  end)

  it("writes piecewise; the file is there when the stream is closed", function()
    local stream = bucket:open_upload("piecewise", { id = "mine", chunk_size = 8 })
    stream:write "hello "
    stream:write ""
    stream:write "big wide world"
    assert.is_nil(bucket:find_one())
    assert.equal("mine", stream:close())
    assert.is_nil(stream:close())
    assert.equal("hello big wide world", bucket:download "mine")
    assert.equal("upload is closed", caught(stream.write, stream, "x").message)
    assert.matches("'write' %(string expected, got number%)",
      caught(function()
        local numbers <close> = bucket:open_upload "n"
        numbers:write(1)
      end).message)
  end)

  it("reads piecewise", function()
    local id = bucket:upload("f", "hello big wide world", { chunk_size = 8 })
    local stream <close> = bucket:open_download(id)
    assert.equal(20, stream.length)
    assert.equal("f", stream.file.filename)
    assert.equal("hel", stream:read(3))
    assert.equal("lo bi", stream:read())
    assert.equal("g wide wor", stream:read(10))
    assert.equal("ld", stream:read(100))
    assert.is_nil(stream:read(1))
    assert.is_nil(stream:read())
    stream:close()
    stream:close()
    assert.equal("download is closed", caught(stream.read, stream).message)
    assert.matches("integer from 1 expected", caught(function() bucket:open_download(id):read(0) end).message)
    local parts = {}
    for part in bucket:open_download(id) do parts[#parts + 1] = part end
    assert.same({ "hello bi", "g wide w", "orld" }, parts)
  end)

  it("leaves nothing behind of an upload that is aborted or raises", function()
    local stream = bucket:open_upload("f", { chunk_size = 4 })
    stream:write(("x"):rep(4 * 1200))
    assert.is_true(chunks() > 0)
    stream:abort()
    stream:abort()
    assert.equal(0, chunks())
    assert.equal("the first one", caught(function()
      local upload <close> = bucket:open_upload("f", { chunk_size = 4 })
      upload:write(("x"):rep(4 * 1200))
      error("the first one", 0)
    end))
    assert.equal(0, chunks())
    local given = 0
    assert.equal("mine", caught(bucket.upload, bucket, "f", function()
      given = given + 1
      if given > 1200 then error("mine", 0) end
      return "xxxx"
    end, { chunk_size = 4 }))
    assert.matches("the source of upload failed: gone",
      caught(bucket.upload, bucket, "f", function() return nil, "gone" end).message)
    assert.matches("must give strings, got boolean", caught(bucket.upload, bucket, "f", function() return true end).message)
    assert.equal(0, chunks())
    assert.is_nil(bucket:find_one())
  end)

  it("does not touch the file that has an id already", function()
    bucket:upload("f", "0123456789", { id = 1, chunk_size = 4 })
    local err = caught(bucket.upload, bucket, "f", "another one, longer", { id = 1, chunk_size = 4 })
    assert.equal("DuplicateKey", err.code)
    assert.equal("0123456789", bucket:download(1))
    bucket:upload("empty", "", { id = 2 })
    assert.equal("DuplicateKey", caught(bucket.upload, bucket, "f", "longer", { id = 2, chunk_size = 4 }).code)
    assert.equal("", bucket:download(2))
    assert.equal(3, chunks())
  end)

  it("finds, renames, deletes and drops", function()
    local a, b = bucket:upload("a", "1"), bucket:upload("b", "2")
    assert.equal(a, bucket:find_one({ filename = "a" })._id)
    local names = {}
    for file in bucket:find({}, { sort = { filename = -1 } }) do names[#names + 1] = file.filename end
    assert.same({ "b", "a" }, names)
    bucket:rename(a, "c")
    assert.equal("c", bucket:find_one(a).filename)
    assert.equal("FileNotFound", caught(bucket.rename, bucket, "nobody", "c").code)
    assert.is_true(bucket:delete(a))
    assert.is_false(bucket:delete(a))
    assert.equal(1, chunks())
    assert.equal("2", bucket:download(b))
    bucket:drop()
    assert.same({}, db:collection_names())
    bucket:upload("again", "x")
    assert.equal(2, #db:collection("fs.chunks"):index_names())
  end)

  it("deletes the chunks of an upload that was cut off", function()
    db:collection("fs.chunks"):insert_one { files_id = 7, n = 0, data = bson.binary "x" }
    assert.is_false(bucket:delete(7))
    assert.equal(0, chunks())
  end)

  it("never gives a damaged file for a whole one", function()
    local id = bucket:upload("f", "0123456789", { chunk_size = 4 })
    local pieces = db:collection "fs.chunks"
    pieces:update_one({ n = 2 }, { ["$set"] = { data = bson.binary "8" } })
    assert.equal("ChunkIsWrongSize", caught(bucket.download, bucket, id).code)
    pieces:delete_one { n = 1 }
    local err = caught(bucket.download, bucket, id)
    assert.equal("ChunkIsMissing", err.code)
    assert.equal(pieces.namespace, err.namespace)
    assert.matches("the file has no chunk 1$", err.message)
    pieces:delete_many {}
    assert.equal("ChunkIsMissing", caught(bucket.download, bucket, id, function() end).code)
    assert.equal("FileNotFound", caught(bucket.open_download, bucket, "nobody").code)
  end)

  it("refuses a string larger than asked for", function()
    local id = bucket:upload("f", "0123456789")
    local err = caught(bucket.download, bucket, id, nil, { max_bytes = 9 })
    assert.equal("FileTooLarge", err.code)
    assert.equal("0123456789", bucket:download(id, nil, { max_bytes = 10 }))
  end)

  it("checks its arguments, and refuses transactions", function()
    assert.matches("'chunk_size' of gridfs must be between", caught(db.gridfs, db, { chunk_size = 0 }).message)
    assert.matches("name of a collection expected", caught(db.gridfs, db, { name = "" }).message)
    assert.matches("did you mean 'metadata'", caught(bucket.upload, bucket, "f", "x", { metdata = {} }).message)
    assert.matches("string, function or object with read", caught(bucket.upload, bucket, "f", 1).message)
    assert.matches("id of a file", caught(bucket.delete, bucket).message)
    assert.matches("did you mean 'open_upload'", caught(function() return bucket.openUpload end).message)
    local session <close> = db:start_session()
    assert.equal("x", bucket:download(bucket:upload("f", "x", { session = session }), nil, { session = session }))
    session:start_transaction()
    assert.matches("cannot be used in a transaction", caught(bucket.upload, bucket, "f", "x", { session = session }).message)
    session:abort()
  end)

  it("is over with its client", function()
    local client = server.client()
    local its = client:database(db.name):gridfs()
    local id = its:upload("f", "x")
    local reading = its:open_download(id)
    client:close()
    assert.equal("download is closed", caught(reading.read, reading).message)
    assert.equal("collection is closed", caught(its.find, its).message)
    assert.matches("is closed", caught(its.upload, its, "f", "x").message)
    assert.matches("is closed", caught(its.delete, its, id).message)
  end)

  it("takes nothing more after a write that failed, for what came next would make a file with a hole", function()
    local its, session = db:gridfs { chunk_size = 1024 * 1024 }, db:start_session()
    local five = ("x"):rep(5 * 1024 * 1024)
    local function failed_upload(name)
      local upload = its:open_upload(name, { session = session })
      session:start_transaction()
      assert.matches("cannot be used in a transaction", caught(upload.write, upload, five).message)
      session:abort()
      return upload
    end
    local upload = failed_upload "hole"
    assert.matches("^upload has failed and takes nothing more", caught(upload.write, upload, five).message)
    assert.matches("^upload has failed", caught(upload.close, upload).message)
    upload:abort()
    assert.matches("^upload has failed", caught(function()
      local left <close> = failed_upload "left" -- luacheck: ignore 211
    end).message)
    assert.equal(0, db:collection("fs.files"):count())
    assert.equal(0, chunks())
  end)

  it("survives a source or a sink that closes what the stream stands on", function()
    local its, session = db:gridfs { chunk_size = 64 }, db:start_session()
    local id, five = its:upload("f", ("x"):rep(320)), ("x"):rep(5 * 1024 * 1024)
    assert.equal("download is closed",
      caught(its.download, its, id, function() session:close() end, { session = session }).message)
    local client = server.client()
    local other = client:database(db.name)
    session = other:start_session()
    assert.equal("upload is closed", caught(other.gridfs(other).upload, other:gridfs(), "g", function()
      session:close()
      return five
    end, { session = session }).message)
    assert.equal("UNFINISHED_WRITES", caught(client.close, client).code)
    assert.equal(1, db:collection("fs.files"):count())
  end)

  it("an upload left open fails its step", function()
    local failure = migrations.step_failure(function(ctx) ctx.mongo:gridfs():open_upload("f"):write "x" end)
    assert.equal("UNFINISHED_WRITES", failure.cause.code)
    assert.matches("the upload of 'f' to '.+' was neither closed nor aborted", failure.message)
  end)

  it("sends its step's comment and session", function()
    local settings = select(3, (function()
      local migration <close>, lines, used = migrations.with_step(function(ctx)
        ctx.mongo:run_command("profile", 2)
        local its = ctx.mongo:gridfs()
        local id = its:upload("f", "x")
        its:download(id)
        its:delete(id)
        ctx.mongo:run_command("profile", 0)
      end)
      migration:run()
      return nil, lines, used
    end)())
    local profile = server.open(settings.mongo.database):collection "system.profile"
    local seen = 0
    for entry in profile:find { ns = { ["$regex"] = "\\.fs\\." } } do
      assert.matches("^smartmigration:.+:only$", entry.command.comment, 1, false, bson.json(entry))
      seen = seen + 1
    end
    assert.is_true(seen >= 6, seen .. " commands were seen")
  end)
end)
