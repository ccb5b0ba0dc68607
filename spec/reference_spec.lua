-- The reference and the annotations: made of lua/api, whole in both directions. What is bound is asked of the running
-- module: the method tables of its classes, its modules (which options each method takes: reference_options_spec.lua); names
-- that C gives one by one (fields) are read out of its sources.
local api = require "spec.support.api"
local bson = require "smartmigration.bson"
local migrations = require "spec.support.migrations"
local process = require "spec.support.process"
local smartmigration = require "smartmigration"

local classes, modules, types, entries = api.classes, api.modules, api.types, api.entries
local names_of, methods_of, reference = api.names_of, api.methods_of, api.reference

local PREFIX = "smartmigration."

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

-- ------------------------------------------------------------------- what is bound

-- The methods of the classes of handles, out of the upvalue of their __index: { class = { names } }.
local function bound_methods()
  local bound = {}
  for _, metatable in pairs(debug.getregistry()) do
    local name = type(metatable) == "table" and rawget(metatable, "__name")
    local index = name and rawget(metatable, "__index")
    if type(name) == "string" and name:sub(1, #PREFIX) == PREFIX and type(index) == "function" then
      local _, methods = debug.getupvalue(index, 1)
      if type(methods) == "table" and not name:find "^smartmigration%.bson%.[da]" then
        local names = {}
        for method in pairs(methods) do names[#names + 1] = method end
        table.sort(names)
        bound[name:sub(#PREFIX + 1)] = names
      end
    end
  end
  return bound
end

-- The first of these upvalues that the function has.
local function upvalue(call, ...)
  for _, wanted in ipairs { ... } do
    for i = 1, math.huge do
      local name, value = debug.getupvalue(call, i)
      if name == wanted then return value end
      if not name then break end
    end
  end
  error("no upvalue " .. table.concat({ ... }, " or "))
end

-- Methods of the objects written in Lua that have this metatable.
local function lua_methods(metatable)
  local methods = upvalue(metatable.__index, "methods", "Upload")
  if type(methods) == "function" then methods = upvalue(methods, "methods") end
  local names = {}
  for method in pairs(methods) do names[#names + 1] = method end
  table.sort(names)
  return names
end

-- Not of the public: what the Lua module stands on.
local INTERNAL = { engine = true, ["mongo.scope"] = true, s3_exchange = true, s3_buffer = true, s3_source = true, s3_sink = true,
  s3_scope = true }

-- The names a C function of fields knows: the strings it compares with.
local function field_names(path, func)
  local body = assert(read(path):match("static int " .. func .. "%b()%s*(%b{})"), path .. ": no " .. func)
  local names = {}
  for name in body:gmatch 'strcmp%([^,]+, "([%w_]+)"%)' do names[#names + 1] = name end
  table.sort(names)
  return names
end

local function table_names(path, pattern, item)
  local body = assert(read(path):match(pattern), path .. ": its table is not there")
  local names = {}
  for name in body:gmatch(item) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local FIELDS = {
  database = { "bindings/mongo/database.c", "database_field" },
  collection = { "bindings/mongo/collection.c", "collection_field" },
  cursor = { "bindings/mongo/cursor.c", "cursor_field" },
  change_stream = { "bindings/mongo/change_stream.c", "stream_field" },
  bulk_writer = { "bindings/mongo/bulk_writer.c", "writer_field" },
  gridfs = { "bindings/mongo/gridfs.c", "gridfs_field" },
  gridfs_upload = { "bindings/mongo/gridfs_upload.c", "upload_field" },
  gridfs_download = { "bindings/mongo/gridfs_download.c", "download_field" },
  bucket = { "bindings/s3/scope.c", "bucket_field" },
  ["ctx.step"] = { "bindings/context/facts.c", "step_field" },
  ["ctx.lease"] = { "bindings/context/facts.c", "lease_field" },
}

-- ---------------------------------------------------------------------- the specs

describe("the reference", function()
  it("is what its source makes", function()
    local folder = process.run({ "mktemp", "-d" }).out:match "%S+"
    reference.write(".", folder)
    local result = process.run { "diff", "-r", folder .. "/lua/library", "lua/library" }
    local page = process.run { "diff", folder .. "/docs/reference.md", "docs/reference.md" }
    process.run { "rm", "-rf", folder }
    assert.are.equal(0, result.status, "run make reference\n" .. result.out .. result.err)
    assert.are.equal(0, page.status, "run make reference\n" .. page.out .. page.err)
  end)

  it("has a line on every name, and types that are there", function()
    local function check(where, text)
      for name in text:gmatch "@([%w_.]*[%w_])" do
        assert.is_truthy(types[name] or types[name:gsub("%.$", "")], where .. ": there is no type " .. name)
      end
    end
    for _, entry in ipairs(entries) do
      local where = entry.owner .. "." .. entry.data.name
      assert.is_truthy(entry.data.about and entry.data.about:find "%.$" and not entry.data.about:find "\n", where)
      for _, text in ipairs(entry.data.params or {}) do
        check(where, reference.parse_field(text).type)
      end
      for _, text in ipairs(entry.data.returns or {}) do check(where, text) end
    end
    for name, class in pairs(classes) do
      assert.is_truthy(class.about and class.about:find "%.$", name)
      for _, text in ipairs(class.fields or {}) do check(name, reference.parse_field(text).type) end
      for _, parent in ipairs(class.parents or {}) do assert.is_truthy(classes[parent], parent) end
    end
  end)

  it("names codes that are there", function()
    local known = read "docs/exit-codes.md" .. read "docs/mongo.md" .. read "docs/s3.md"
    for _, entry in ipairs(entries) do
      for _, code in ipairs(entry.data.raises or {}) do
        assert.is_truthy(known:find(code, 1, true), entry.owner .. "." .. entry.data.name .. " raises " .. code)
      end
    end
  end)

  it("has examples that are Lua", function()
    local count = 0
    for _, entry in ipairs(entries) do
      if entry.data.example then
        count = count + 1
        assert(load(entry.data.example, "=" .. entry.owner .. "." .. entry.data.name, "t"))
      end
    end
    assert.is_true(count > 40)
  end)

  it("reads types as they are written", function()
    assert.are.same({ name = "work", optional = false, type = "fun(session: @session): any", about = nil },
      reference.parse_field "work fun(session: @session): any")
    assert.are.same({ name = "mode", optional = true, type = [["a b"|"c"]], about = "which one" },
      reference.parse_field [[mode? "a b"|"c" which one]])
    assert.has_error(function() reference.parse_field "broken fun(a" end)
  end)
end)

describe("the annotations", function()
  local stubs = {}
  for path in process.run({ "find", "lua/library", "-name", "*.lua" }).out:gmatch "%S+" do stubs[path] = read(path) end

  it("are meta files that cannot be required by mistake", function()
    assert.is_truthy(next(stubs))
    for path, text in pairs(stubs) do
      local name = text:match "^%-%-%- @meta (%S+)\n%-%- DO NOT EDIT%. GENERATED BY "
      assert.is_truthy(name == "_" or modules[name], path)
      local chunk = assert(loadfile(path, "t"))
      local ok, message = pcall(chunk)
      assert.is_false(ok)
      assert.is_truthy(message:find("Cannot require a meta file", 1, true))
    end
  end)

  it("stand where the language server looks for the module of that name", function()
    for name in pairs(modules) do
      local path = "lua/library/" .. name:gsub("%.", "/")
      local text = stubs[path .. ".lua"] or stubs[path .. "/init.lua"]
      assert.is_truthy(text and text:find("@meta " .. name .. "\n", 1, true), name)
    end
  end)

  -- The language server's grammar, as far as it is used here.
  it("have tags in the right places", function()
    for path, text in pairs(stubs) do
      local params, defined = {}, {}
      for line in text:gmatch "[^\n]+" do
        local tag, rest = line:match "^%-%-%-@(%w+) (.+)$"
        local shown = path .. ": " .. line
        if tag == "param" then
          params[#params + 1] = assert(rest:match "^([%w_.]+)%?? %S", shown)
        elseif tag == "field" then
          assert(rest:match "^[%w_]+%?? %S" or rest:match "^%[string%] %S" or rest:match "^%[integer%] %S", shown)
        elseif tag == "class" or tag == "alias" then
          local name = assert(rest:gsub("^%(exact%) ", ""):match "^smartmigration[%w_.]*", shown)
          assert(not defined[name], shown)
          defined[name] = true
        elseif tag then
          assert(tag == "return" or tag == "overload" or tag == "operator", shown)
        elseif line:find "^function " then
          assert.are.equal(table.concat(params, ", "), line:match "%((.*)%) end$", shown)
          params = {}
        end
        if tag and line:find "smartmigration%." then
          for name in line:gsub("#.*", ""):gmatch "smartmigration%.([%w_.]*[%w_])" do
            assert(types[name] or rest:find("`", 1, true), shown)
          end
        end
      end
    end
  end)
end)

describe("coverage", function()
  local migration <const> = smartmigration.new { target_version = "1.0.0", offline = true }
  teardown(function() migration:close() end)

  it("of methods: what is bound is documented, what is documented is bound", function()
    for name in pairs(modules) do require(name) end
    migrations.run_step(function() end) -- the classes of what ctx hands out are made with the first one
    local bound = bound_methods()
    bound.migration = lua_methods(debug.getmetatable(migration))
    bound.builder = lua_methods(debug.getmetatable(migration:step "unfinished"))
    bound.s3_listing = lua_methods(upvalue(upvalue(require("smartmigration.s3.list").list, "iterate"), "meta"))
    bound.s3_reader = lua_methods(upvalue(require("smartmigration.s3.reader").open, "meta"))
    bound.s3_upload = lua_methods(upvalue(require("smartmigration.s3.multipart").upload, "meta"))
    for name in pairs(INTERNAL) do bound[name] = nil end
    bound.error = table_names("bindings/kit/error_fields.c", "kit_error_methods%[%] = (%b{})", '{"([%w_]+)"')
    bound["bson.objectid"] = { "timestamp_s" }
    for name, methods in pairs(bound) do
      local class = classes[name]
      assert.is_truthy(class, "the class " .. name .. " is not documented")
      assert.are.same(methods, methods_of(class), name)
    end
    bound.s3_handle = {} -- what buckets and clients have in common
    for name, class in pairs(classes) do
      assert.is_truthy(bound[name] or not class.methods, name .. " is documented and not there")
    end
  end)

  it("of modules", function()
    for name, module in pairs(modules) do
      local bound, documented = {}, names_of(module.functions)
      for key in pairs(require(name)) do bound[#bound + 1] = key end
      table.move(names_of(module.fields), 1, #(module.fields or {}), #documented + 1, documented)
      table.sort(bound)
      table.sort(documented)
      assert.are.same(bound, documented, name)
    end
  end)

  it("of fields of handles", function()
    for name, place in pairs(FIELDS) do
      assert.are.same(field_names(table.unpack(place)), names_of(classes[name].fields), name)
    end
    for name, class in pairs(classes) do
      if class.kind == "handle" and class.fields and name ~= "ctx" then
        assert.is_truthy(FIELDS[name], name)
      end
    end
  end)

  it("of fields of ctx and of errors", function()
    local ctx = names_of(classes.ctx.fields)
    table.move(names_of(classes.ctx.methods), 1, #classes.ctx.methods, #ctx + 1, ctx)
    table.sort(ctx)
    assert.are.same(table_names("bindings/context/context.c", "%*const names%[%] = (%b{})", '"([%w_]+)"'), ctx)
    local errors = table_names("bindings/kit/error_fields.c", "}%s*fields%[%] = (%b{})", '{"([%w_]+)"')
    for name in read("lua/smartmigration/s3/parallel.lua"):gmatch 'annotate%([%w]+, "([%w_]+)"' do errors[#errors + 1] = name end
    for _, name in ipairs { "traceback", "value", "where" } do errors[#errors + 1] = name end
    table.sort(errors)
    assert.are.same(errors, names_of(classes.error.fields))
  end)

  it("of settings", function()
    local known, documented = {}, {}
    for path in read("lua/smartmigration/options.lua"):match("local KNOWN = (%b{})"):gmatch '%["([%w_.]+)"%] = {' do
      known[#known + 1] = path
    end
    for _, text in ipairs(classes.settings.fields) do
      local field = reference.parse_field(text)
      local group = classes[field.type:match "^@(.*_settings)$"]
      for _, name in ipairs(group and names_of(group.fields) or { "" }) do
        documented[#documented + 1] = field.name .. (name ~= "" and "." or "") .. name
      end
    end
    table.sort(known)
    table.sort(documented)
    assert.are.same(known, documented)
  end)

  it("of values of BSON", function()
    local samples = {
      date = bson.now(), binary = bson.binary "x", regex = bson.regex("a", "i"), timestamp = bson.timestamp(1, 2),
      objectid = bson.objectid(), decimal128 = bson.decimal128 "1", double = bson.double(1), int32 = bson.int32(1),
      int64 = bson.int64(1), code = bson.code "x", minkey = bson.minkey, maxkey = bson.maxkey,
    }
    for kind, sample in pairs(samples) do
      local class = classes["bson." .. kind]
      assert.are.equal("smartmigration.bson." .. kind, getmetatable(sample))
      for _, name in ipairs(names_of(class.fields)) do assert.is_truthy(sample[name] ~= nil, kind .. "." .. name) end
      for _, name in ipairs(names_of(class.methods)) do assert.is_function(sample[name]) end
    end
  end)
end)
