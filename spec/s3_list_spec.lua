-- Listings of the S3 binding: pages, prefixes, versions, uploads, and taking one up again. Against a real server.
local server = require "spec.support.s3"
local s3_proxy = require "spec.support.s3_proxy"
local support = require "spec.support.s3_lua"

local caught = support.caught

describe("a listing", function()
  local bucket, store, client
  local expected = {}
  setup(function()
    bucket, store, client = support.bucket()
    local names = {}
    for i = 1, 2500 do
      names[i] = ("all/%04d"):format(i)
      expected[i] = names[i]
    end
    client:parallel(names, function(key) bucket:put(key, key) end)
    for _, key in ipairs { "tree/a/1", "tree/a/2", "tree/b c+d/1", "tree/é/1", "tree/top", "tree/x%20y" } do
      bucket:put(key, "12345")
    end
  end)
  teardown(function() client:close() end)

  it("gives 2,500 keys over pages, in order", function()
    assert.same(expected, support.keys((bucket:list "all/")))
    assert.same(expected, support.keys((bucket:list { prefix = "all/", page_size = 7 })))
    local count = 0
    for entry in bucket:list "all/" do
      count = count + 1
      assert.equal(8, entry.size)
      assert.equal(expected[count], entry.key)
    end
    assert.equal(2500, count)
  end)

  it("tells of each object", function()
    local entry = bucket:list("tree/top"):next()
    assert.equal("tree/top", entry.key)
    assert.equal(5, entry.size)
    assert.equal("827ccb0eea8a706c4c34a16891f84e7b", entry.etag)
    assert.equal("STANDARD", entry.storage_class)
    assert.is_number(entry.last_modified.ms)
  end)

  it("is empty for nothing", function()
    assert.same({}, bucket:list("nothing/"):all())
    assert.is_nil((bucket:list("nothing/"):next()))
    assert.same({}, bucket:list_prefixes("nothing/"):all())
  end)

  it("gives special characters as they are", function()
    assert.same({ "tree/a/1", "tree/a/2", "tree/b c+d/1", "tree/top", "tree/x%20y", "tree/é/1" },
      support.keys((bucket:list "tree/")))
    assert.same({ "tree/b c+d/1" }, support.keys((bucket:list "tree/b c+")))
  end)

  it("gives prefixes, and the keys between them", function()
    assert.same({ "tree/a/", "tree/b c+d/", "tree/é/" }, bucket:list_prefixes("tree/", "/"):all())
    assert.same({ "all/", "tree/" }, bucket:list_prefixes():all())
    assert.same({ "tree/top", "tree/x%20y" }, support.keys((bucket:list { prefix = "tree/", delimiter = "/" })))
    assert.same({ "tree/a/", "tree/b c+d/", "tree/é/" }, bucket:list_prefixes("tree/", "/", { page_size = 1 }):all())
  end)

  it("is taken up again by its token", function()
    local listing = bucket:list { prefix = "all/", page_size = 100 }
    assert.is_nil(listing:token())
    for _ = 1, 150 do listing:next() end
    assert.equal("all/0150", listing:token())
    local rest = support.keys((bucket:list { prefix = "all/", start_after = listing:token() }))
    assert.equal(2350, #rest)
    assert.equal("all/0151", rest[1])
    assert.equal("all/2500", rest[2350])
    assert.matches("list_prefixes has no token", caught(function() bucket:list_prefixes():token() end).message)
  end)

  it("fetches pages when they are needed", function()
    local proxy <close> = s3_proxy.start()
    local own <close> = support.client(proxy)
    local through = own:bucket(bucket.name)
    local listing = through:list { prefix = "all/", page_size = 100 }
    assert.equal(0, #proxy:log())
    for _ = 1, 49 do listing:next() end
    assert.equal(1, #proxy:log())
    for _ = 1, 52 do listing:next() end
    assert.equal(2, #proxy:log())
    for entry in through:list { prefix = "all/", page_size = 100 } do
      if entry.key == "all/0010" then break end
    end
    assert.equal(3, #proxy:log())
    assert.equal("list-type=2", proxy:log()[1].query:match "list%-type=2")
    assert.equal("encoding-type=url", proxy:log()[1].query:match "encoding%-type=url")
  end)

  it("closes", function()
    local listing = bucket:list "all/"
    listing:next()
    listing:close()
    listing:close()
    assert.equal("listing is closed", caught(listing.next, listing).message)
    assert.matches("%(closed%)$", tostring(listing))
    assert.matches("no method 'nxt'; did you mean 'next'", caught(function() return bucket:list().nxt end).message)
    local first, state, control, closing = bucket:list()
    assert.is_nil(state or control)
    assert.equal(first, closing)
  end)

  it("does not give more than all() is told", function()
    assert.matches("more than 100", caught(function() bucket:list("all/"):all(100) end).message)
    assert.equal(2500, #bucket:list("all/"):all(2500))
  end)

  it("refuses wrong arguments", function()
    assert.matches("prefix or options expected, got number", caught(bucket.list, bucket, 5).message)
    assert.matches("between 1 and 1000", caught(bucket.list, bucket, { page_size = 1001 }).message)
    assert.matches("delimiter expected", caught(bucket.list_prefixes, bucket, "", "").message)
  end)

  it("gives versions and delete markers", function()
    local own <close> = server.start { versions = true }
    local own_client <close> = support.client(own)
    local versioned = own_client:bucket(own:bucket())
    versioned:request("PUT", nil, { query = { versioning = true },
      body = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>" })
    local first = versioned:put("v", "1").version_id
    local second = versioned:put("v", "22").version_id
    assert.is_true(first ~= second and #first > 0)
    local deleted = versioned:delete "v"
    assert.is_true(deleted.delete_marker)
    assert.is_nil(versioned:head "v")
    assert.equal("1", versioned:get("v", { version_id = first }).body)
    local seen = {}
    for entry in versioned:list_versions "v" do
      seen[#seen + 1] = { entry.version_id, entry.delete_marker or false, entry.is_latest, entry.size or false }
    end
    assert.same({ { deleted.version_id, true, true, false }, { second, false, false, 2 }, { first, false, false, 1 } }, seen)
    assert.is_number(versioned:list_versions("v"):next().last_modified.ms)
    versioned:copy("v", "old", { source_version_id = first })
    assert.equal("1", versioned:get("old").body)
    assert.equal(3, versioned:delete_many((versioned:list_versions "v")).deleted)
    assert.same({}, versioned:list_versions("v"):all())
  end)

  -- The test server gives the version that the marker names once more.
  it("of versions goes on behind key and version", function()
    local proxy <close> = s3_proxy.start()
    local own <close> = support.client(proxy)
    local function page(key, more)
      return ("<ListVersionsResult><EncodingType>url</EncodingType><IsTruncated>%s</IsTruncated>%s<Version><Key>%s</Key>"
        .. "<VersionId>1</VersionId><IsLatest>true</IsLatest><Size>3</Size></Version></ListVersionsResult>"):format(more ~= nil,
        more and "<NextKeyMarker>" .. more .. "</NextKeyMarker><NextVersionIdMarker>7</NextVersionIdMarker>" or "", key)
    end
    proxy:add { query = "key-marker=a%20b", answer = { status = 200, body = page("c") } }
    proxy:add { query = "versions", answer = { status = 200, body = page("a+b%2B", "a+b") } }
    assert.same({ "a b+", "c" }, support.keys((own:bucket(bucket.name):list_versions())))
    assert.matches("version%-id%-marker=7", proxy:log()[2].query)
    proxy:remove()
    proxy:add { query = "versions", answer = { status = 200, body = page("a", "a") } }
    local err = caught(function() own:bucket(bucket.name):list_versions():all() end)
    assert.matches("goes on where the last one did", err.message)
  end)

  it("of a missing bucket raises", function()
    local other = client:bucket "smig-there-is-no-such-bucket"
    for _, name in ipairs { "list", "list_prefixes", "list_versions", "list_uploads" } do
      assert.equal("NoSuchBucket", caught(function() return other[name](other):next() end).code)
    end
    assert.is_string(store.endpoint)
  end)
end)
