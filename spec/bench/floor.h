/*
 * What both floors need beside their work: bare libmongoc, which ends the program at the first failure.
 * Users: floor.c, driver_floor.c.
 */
#ifndef SMIG_BENCH_FLOOR_H
#define SMIG_BENCH_FLOOR_H

#include <mongoc/mongoc.h>

#include <stdio.h>
#include <stdlib.h>

static void require(bool good, const bson_error_t *error) {
  if (good) return;
  fprintf(stderr, "floor: %s\n", error->message);
  exit(1);
}

static mongoc_client_t *open_client(const char *text) {
  mongoc_init();
  bson_error_t error;
  mongoc_uri_t *uri = mongoc_uri_new_with_error(text, &error);
  require(uri != NULL, &error);
  mongoc_client_t *client = mongoc_client_new_from_uri(uri);
  mongoc_uri_destroy(uri);
  return client;
}

static void close_client(mongoc_client_t *client) {
  mongoc_client_destroy(client);
  mongoc_cleanup();
}

static void drop_database(mongoc_client_t *client, const char *name) {
  mongoc_database_t *database = mongoc_client_get_database(client, name);
  bson_error_t error;
  require(mongoc_database_drop(database, &error), &error);
  mongoc_database_destroy(database);
}

#endif
