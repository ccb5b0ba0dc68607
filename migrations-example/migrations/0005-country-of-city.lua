-- Each city gets what a list of cities shows of its country, by one aggregation on the server. Cities that
-- have it already are left out, so a second run does only what the first did not reach.
---@type smartmigration.step
return {
  id = "country-of-city",
  from = "1.4.0",
  to = "1.5.0",
  description = "join code, name, continent and currency of the country into each city",
  up = function(ctx)
    local bson = ctx.bson
    local country = bson.doc {
      { "code", "$_id" }, { "name", "$name" }, { "continent", "$continentcode" }, { "currency", "$currency.code" },
    }
    local merge = { into = "cities", on = "_id", whenMatched = "merge", whenNotMatched = "fail" }
    ctx.mongo:collection("cities"):aggregate({
      { ["$match"] = { country = { ["$exists"] = false } } },
      { ["$lookup"] = {
        from = "countries", localField = "countrycode", foreignField = "_id", as = "country",
        pipeline = { { ["$project"] = bson.doc { { "_id", 0 }, { "country", country } } } },
      } },
      { ["$project"] = { country = { ["$first"] = "$country.country" } } },
      { ["$merge"] = merge },
    })
    ctx.mongo:collection("cities"):create_index({ { "country.code", 1 }, { "name", 1 } }, { name = "country_and_name" })
  end,
}
