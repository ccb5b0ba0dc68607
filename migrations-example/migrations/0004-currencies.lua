-- Two flat fields become one sub-document; a country without a currency gets null. One update per document
-- moves the fields, so none is ever seen half moved, and only documents that still have the flat ones are
-- touched.
---@type smartmigration.step
return {
  id = "currencies",
  from = "1.3.0",
  to = "1.4.0",
  description = "put each country's currency into a sub-document",
  up = function(ctx)
    local currency = { code = "$currencycode", name = "$currencyname" }
    ctx.mongo:collection("countries"):update_many({ currencycode = { ["$exists"] = true } }, {
      { ["$set"] = { currency = { ["$cond"] = { { ["$eq"] = { "$currencycode", "" } }, ctx.bson.null, currency } } } },
      { ["$unset"] = { "currencycode", "currencyname" } },
    })
  end,
}
