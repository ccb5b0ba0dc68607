/*
 * Connection strings: parsed, their secrets learnt, their rules checked. User: connection. Any thread.
 */
#ifndef SMIG_MONGO_URI_H
#define SMIG_MONGO_URI_H

#include "smartmigration.h"

#include <mongoc/mongoc.h>

/*
 * Parses a URI and sets what the engine wants of every connection. NULL with INVALID_OPTIONS naming what is wrong; the
 * message never holds the user name or the password.
 */
mongoc_uri_t *smig_mongo_uri_parse(const char *text, smig_error_t *error);
/* "localhost:27017,db2:27017", or the name of an SRV record. A new string. */
char *smig_mongo_uri_hosts(const mongoc_uri_t *uri);
/* What the URI asks for against the engine's defaults: "w=1, readPreference=secondary"; NULL: nothing. A new string. */
char *smig_mongo_uri_overridden(const mongoc_uri_t *uri);
/* As smig_mongo_connection_append_facts says. */
void smig_mongo_uri_append_facts(const mongoc_uri_t *uri, bson_t *facts);

#endif
