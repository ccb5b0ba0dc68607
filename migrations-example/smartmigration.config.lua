-- The example's settings: everything but the folder of steps can be given from outside.
return {
  migrations = "migrations",
  mongo = {
    uri = env("SMARTMIGRATION_MONGO_URI", "mongodb://127.0.0.1:27017/?replicaSet=rs0"),
    database = env("SMARTMIGRATION_MONGO_DB", "atlas"),
  },
  s3 = {
    endpoint = env("SMARTMIGRATION_S3_ENDPOINT", "http://127.0.0.1:7070"),
    bucket = env("SMARTMIGRATION_S3_BUCKET", "atlas"),
  },
}
