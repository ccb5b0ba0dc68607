-- The example's settings: everything but the folder of steps can be given from outside.
return {
  migrations = "migrations",
  mongo = {
    uri = env("SMARTMIGRATION_MONGO_URI", "mongodb://127.0.0.1:27017/?replicaSet=rs0"),
    database = env("SMARTMIGRATION_MONGO_DB", "atlas"),
  },
}
