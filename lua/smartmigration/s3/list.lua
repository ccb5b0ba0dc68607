-- Listings: iterators that fetch a page when the last one is used up, and ask for the next one while half of a page is left.
-- Users: init.lua makes them methods.
local core = require "smartmigration.s3.core"
local exchanges = require "smartmigration.s3.exchanges"
local failures = require "smartmigration.s3.failures"
local options = require "smartmigration.s3.options"
local strict = require "smartmigration.strict"

local list = {}

local MAX_ALL = 10000

-- --------------------------------------------------------------- the iterator

local Iterator = {}

local states = setmetatable({}, { __mode = "k" }) -- iterator -> what it stands on

local function start_page(state)
  state.pending = exchanges.start(state.handle, state.request(state.page))
  state.pending:drive(0) -- it is on its way while the rows there are are worked on
end

local function take_page(state)
  if not state.pending then
    state.pending = exchanges.start(state.handle, state.request(state.page))
  end
  local started = state.pending
  state.pending = nil
  local page = core.listing(exchanges.finish(started, state.operation).body)
  if page.name ~= state.root then
    failures.raise("InvalidResponse", "s3", state.operation, state.bucket, nil, ("the answer is no %s but a %s"):format(
      state.root, page.name))
  end
  state.page, state.items, state.position = page, page[state.items_name], 0
  local marker = page.truncated and state.goes_on(page)
  if page.truncated and (not marker or marker == state.marker) then
    failures.raise("InvalidResponse", "s3", state.operation, state.bucket, nil,
      marker and "the answer goes on where the last one did" or "there is more, but the answer does not say where")
  end
  state.marker = marker
end

local function next_item(self)
  local state = states[self]
  if state.closed then
    core.raise_argument "listing is closed"
  end
  while not state.items or state.position >= #state.items do
    if state.items and not state.page.truncated then
      core.target(state.handle) -- a run that must end ends here, too
      return nil
    end
    take_page(state)
  end
  state.position = state.position + 1
  if state.page.truncated and not state.pending and state.position == #state.items // 2 then
    start_page(state)
  end
  local item = state.items[state.position]
  state.last = item
  return item
end

-- iterator:next() -> the next item, nil at the end
Iterator.next = next_item

-- iterator:all([most]) -> a list of what is left; raises above `most` (10,000)
function Iterator:all(most)
  local all = {}
  for item in self do
    if #all >= (most or MAX_ALL) then
      core.raise_argument(("there are more than %d: loop over the listing, or give all() a larger number"):format(
        most or MAX_ALL))
    end
    all[#all + 1] = item
  end
  return all
end

-- iterator:token() -> what `start_after` takes to go on behind the item given last; nil before the first
function Iterator:token()
  local state = states[self]
  if state.operation ~= "list" then
    core.raise_argument(state.operation .. " has no token: only a listing by list() can be taken up again")
  end
  return state.last and state.last.key or state.start_after
end

-- iterator:close(); again it does nothing
function Iterator:close()
  local state = states[self]
  if state.pending then
    state.pending:abandon()
  end
  state.closed, state.pending, state.items = true, nil, nil
end

strict.called_with_colon("smartmigration.s3_listing", Iterator, "listing")

local meta = {
  __name = "smartmigration.s3_listing",
  __metatable = "smartmigration.s3_listing",
  __index = strict.index("listing", Iterator),
  __newindex = strict.newindex "listing",
  __call = next_item,
  __close = Iterator.close,
  __tostring = function(self)
    local state = states[self]
    return ("listing of '%s' (%s)"):format(state.bucket, state.closed and "closed" or "open")
  end,
}

-- What a generic `for` wants: it closes the iterator.
local function iterate(state)
  local iterator = setmetatable({}, meta)
  states[iterator] = state
  return iterator, nil, nil, iterator
end

-- ------------------------------------------------------------------ the methods

local PAGE_SIZE = { "integer", 1, 1000 }
local LIST = { prefix = "string", delimiter = "string", start_after = "string", page_size = PAGE_SIZE }

-- list(prefix) or list { prefix =, … }
local function read_prefix(prefix_or_opts, operation)
  if type(prefix_or_opts) == "string" then
    return { prefix = prefix_or_opts }
  elseif prefix_or_opts ~= nil and type(prefix_or_opts) ~= "table" then
    options.refuse("bad argument #1 to '%s' (prefix or options expected, got %s)", operation, type(prefix_or_opts))
  end
  return prefix_or_opts
end

local function objects_state(self, operation, bucket, opts, items_name)
  return {
    handle = self, operation = operation, bucket = bucket, items_name = items_name, root = "ListBucketResult",
    start_after = opts.start_after,
    request = function(page)
      return { operation = operation, method = "GET", bucket = bucket, query = {
        ["list-type"] = "2", ["encoding-type"] = "url", prefix = opts.prefix, delimiter = opts.delimiter,
        ["max-keys"] = tostring(opts.page_size or 1000), ["start-after"] = not page and opts.start_after or nil,
        ["continuation-token"] = page and page.token or nil } }
    end,
    goes_on = function(page)
      return page.token
    end,
  }
end

-- bucket:list([prefix or opts]) -> iterator of { key, size, etag, last_modified, storage_class }
function list.list(self, prefix_or_opts)
  local bucket, opts = options.begin(self, "list", read_prefix(prefix_or_opts, "list"), LIST)
  return iterate(objects_state(self, "list", bucket, opts, "rows"))
end

-- bucket:list_prefixes([prefix [, delimiter [, opts]]]) -> iterator of the "folders" below a prefix, as strings
function list.list_prefixes(self, prefix, delimiter, opts)
  local bucket
  bucket, opts = options.begin(self, "list_prefixes", opts, { page_size = PAGE_SIZE })
  if prefix ~= nil and type(prefix) ~= "string" then
    options.refuse("bad argument #1 to 'list_prefixes' (prefix expected, got %s)", type(prefix))
  end
  delimiter = delimiter or "/"
  options.check_string(delimiter, "list_prefixes", 2, "delimiter")
  return iterate(objects_state(self, "list_prefixes", bucket,
    { prefix = prefix, delimiter = delimiter, page_size = opts.page_size }, "prefixes"))
end

-- bucket:list_versions([prefix or opts]) -> iterator of { key, version_id, is_latest, delete_marker, size, etag, … }
function list.list_versions(self, prefix_or_opts)
  local bucket, opts = options.begin(self, "list_versions", read_prefix(prefix_or_opts, "list_versions"),
    { prefix = "string", page_size = PAGE_SIZE })
  return iterate {
    handle = self, operation = "list_versions", bucket = bucket, items_name = "rows", root = "ListVersionsResult",
    request = function(page)
      return { operation = "list_versions", method = "GET", bucket = bucket, query = {
        versions = true, ["encoding-type"] = "url", prefix = opts.prefix, ["max-keys"] = tostring(opts.page_size or 1000),
        ["key-marker"] = page and page.key_marker, ["version-id-marker"] = page and page.version_id_marker } }
    end,
    goes_on = function(page)
      return page.key_marker and page.key_marker .. "\0" .. (page.version_id_marker or "")
    end,
  }
end

-- bucket:list_uploads([prefix or opts]) -> iterator of { key, upload_id, initiated, storage_class }
function list.list_uploads(self, prefix_or_opts)
  local bucket, opts = options.begin(self, "list_uploads", read_prefix(prefix_or_opts, "list_uploads"),
    { prefix = "string", page_size = PAGE_SIZE })
  return iterate {
    handle = self, operation = "list_uploads", bucket = bucket, items_name = "rows", root = "ListMultipartUploadsResult",
    request = function(page)
      return { operation = "list_uploads", method = "GET", bucket = bucket, query = {
        uploads = true, ["encoding-type"] = "url", prefix = opts.prefix, ["max-uploads"] = tostring(opts.page_size or 1000),
        ["key-marker"] = page and page.key_marker, ["upload-id-marker"] = page and page.upload_id_marker } }
    end,
    goes_on = function(page)
      return page.key_marker and page.key_marker .. "\0" .. (page.upload_id_marker or "")
    end,
  }
end

return list
