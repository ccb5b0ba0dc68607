/*
 * What the driver and the server say, as our errors: see smig_mongo_error in connection.h. Users: mongo_ledger, the
 * bindings. Errors: this file makes them and has none. Threads: the connection's.
 *
 * Sources: the names are the server's own; what counts as retryable follows MongoDB's specifications on retryable reads,
 * retryable writes and transactions.
 */
#include "connection.h"

#include "guard.h"
#include "secrets.h"
#include "stream.h"
#include "text.h"

#include <ctype.h>
#include <string.h>

/* A failure as it is understood, before it becomes an error. Strings are borrowed but for `text` and `name_owned`. */
typedef struct failure {
  const char *category;
  const char *name;
  char *name_owned;
  char *text;
  int32_t native; /* the server's code; 0: none */
  bool retryable, outcome_unknown, timeout, connecting;
} failure_t;

/* ---------------------------------------------------------- reading a reply */

static bool find(const bson_t *document, const char *key, bson_iter_t *iter) {
  return document && bson_iter_init_find(iter, document, key);
}

static bool find_array(const bson_t *document, const char *key, bson_iter_t *elements) {
  bson_iter_t iter;
  return find(document, key, &iter) && BSON_ITER_HOLDS_ARRAY(&iter) && bson_iter_recurse(&iter, elements);
}

static bool has_label(const bson_t *document, const char *field, const char *label) {
  bson_iter_t labels;
  if (!find_array(document, field, &labels)) return false;
  while (bson_iter_next(&labels))
    if (BSON_ITER_HOLDS_UTF8(&labels) && strcmp(bson_iter_utf8(&labels, NULL), label) == 0) return true;
  return false;
}

static const char *find_text(const bson_t *document, const char *key) {
  bson_iter_t iter;
  return find(document, key, &iter) && BSON_ITER_HOLDS_UTF8(&iter) ? bson_iter_utf8(&iter, NULL) : NULL;
}

static int32_t find_code(const bson_t *document) {
  bson_iter_t iter;
  return find(document, "code", &iter) && BSON_ITER_HOLDS_NUMBER(&iter) ? (int32_t)bson_iter_as_int64(&iter) : 0;
}

/* The write concern error of a command's or a bulk's reply: a view into it. */
static bool find_write_concern_error(const bson_t *reply, bson_t *view) {
  bson_iter_t iter, elements;
  bool found = find(reply, "writeConcernError", &iter) && BSON_ITER_HOLDS_DOCUMENT(&iter);
  if (!found && find_array(reply, "writeConcernErrors", &elements) && bson_iter_next(&elements)) {
    iter = elements;
    found = BSON_ITER_HOLDS_DOCUMENT(&iter);
  }
  if (!found) return false;
  uint32_t length;
  const uint8_t *bytes;
  bson_iter_document(&iter, &length, &bytes);
  return bson_init_static(view, bytes, length);
}

/* ------------------------------------------------------------ understanding */

/* A text of somebody else's as one line without secrets. The driver cuts long ones, also within a character. A new string. */
static char *one_line(const char *text) {
  char *line = smig_secret_scrub(text, strlen(text));
  for (char *c = line; *c; c++)
    if (iscntrl((unsigned char)*c)) *c = ' ';
  size_t length = strlen(line);
  for (size_t at = 0, size = 0; at < length; at += size) {
    uint32_t character;
    size = smig_utf8_decode(line + at, length - at, &character);
    if (!size) line[at] = '?', size = 1;
  }
  return line;
}

static bool is_one_of(int32_t code, const int32_t *codes, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (codes[i] == code) return true;
  return false;
}

static bool is_transient(int32_t code) {
  static const int32_t codes[] = {6, 7, 89, 91, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436};
  return is_one_of(code, codes, sizeof codes / sizeof *codes);
}

/* The server says that it gave up, not whether it had begun. */
static bool leaves_unknown(int32_t code) {
  static const int32_t codes[] = {6, 7, 64, 89, 91, 189, 202, 262, 9001, 11600, 11602};
  return is_one_of(code, codes, sizeof codes / sizeof *codes);
}

static bool is_timeout_code(int32_t code) {
  static const int32_t codes[] = {24, 50, 89, 202, 262};
  return is_one_of(code, codes, sizeof codes / sizeof *codes);
}

static bool is_conflict_code(int32_t code) {
  static const int32_t codes[] = {112, 117, 11000};
  return is_one_of(code, codes, sizeof codes / sizeof *codes);
}

/* Whether an operation only reads, so that an unanswered one has changed nothing. Aggregations may write. */
static bool only_reads(const char *operation) {
  static const char *const reads[] = {"connect",          "find",
                                      "find_one",         "count",
                                      "count_documents",  "estimated_count",
                                      "distinct",         "list_databases",
                                      "database_names",   "list_collections",
                                      "has_collection",   "explain",
                                      "collection_names", "list_indexes",
                                      "index_names",      "watch",
                                      "currentOp",        NULL};
  for (size_t i = 0; operation && reads[i]; i++)
    if (strcmp(operation, reads[i]) == 0) return true;
  return false;
}

static void understand_server(failure_t *failure, const bson_t *reply, int32_t code) {
  failure->native = code;
  const char *given = find_code(reply) == code ? find_text(reply, "codeName") : NULL;
  const char *known = given ? given : smig_mongo_code_name(code);
  if (known)
    failure->name = known;
  else
    failure->name = failure->name_owned = bson_strdup_printf("Location%" PRId32, code); /* as the server writes them */
  failure->timeout = is_timeout_code(code);
  failure->category = failure->timeout ? "timeout" : is_conflict_code(code) ? "conflict" : "server";
  failure->retryable = is_transient(code);
  failure->outcome_unknown = leaves_unknown(code);
}

/* The driver's own domains: what it refuses before sending, and what it cannot read. */
static void understand_driver(failure_t *failure, const bson_error_t *cause) {
  failure->category = "argument";
  switch (cause->domain) {
  case MONGOC_ERROR_PROTOCOL:
    failure->category = "server";
    failure->name = "InvalidReply";
    failure->outcome_unknown = true;
    break;
  case MONGOC_ERROR_CURSOR:
    failure->name = "InvalidCursor";
    break;
  case MONGOC_ERROR_BSON:
    failure->name = "InvalidBSON";
    break;
  case MONGOC_ERROR_NAMESPACE:
    failure->name = "InvalidNamespace";
    break;
  case MONGOC_ERROR_TRANSACTION:
    failure->name = "InvalidTransactionState";
    break;
  case MONGOC_ERROR_GRIDFS:
    failure->category = "server";
    failure->name = "GridFSError";
    break;
  case MONGOC_ERROR_CLIENT:
    failure->name = cause->code == MONGOC_ERROR_CLIENT_SESSION_FAILURE ? "InvalidSession" : "InvalidArgument";
    break;
  default:
    failure->name = "InvalidArgument";
  }
}

static void understand(failure_t *failure, smig_stream_gate_t *gate, const bson_t *reply, const bson_error_t *cause) {
  bson_t concern;
  switch (cause->domain) {
  case MONGOC_ERROR_SERVER:
    understand_server(failure, reply, (int32_t)cause->code);
    break;
  case MONGOC_ERROR_WRITE_CONCERN:
    understand_server(failure, NULL,
                      find_write_concern_error(reply, &concern) && find_code(&concern) ? find_code(&concern) : 64);
    failure->outcome_unknown = true; /* done on the primary, and not known to last */
    break;
  case MONGOC_ERROR_SERVER_SELECTION:
    failure->category = "network";
    failure->name = "ServerSelectionTimeout";
    failure->retryable = failure->connecting = true;
    failure->timeout = true;
    break;
  case MONGOC_ERROR_SASL:
  case MONGOC_ERROR_SCRAM:
    failure->category = "server";
    failure->name = "AuthenticationFailed";
    failure->connecting = true;
    break;
  case MONGOC_ERROR_STREAM:
    failure->timeout = gate->timed_out;
    failure->category = failure->timeout ? "timeout" : "network";
    failure->name = failure->timeout ? "Timeout" : "NetworkError";
    failure->retryable = failure->outcome_unknown = true;
    break;
  default:
    if (cause->domain == MONGOC_ERROR_CLIENT && cause->code == MONGOC_ERROR_CLIENT_AUTHENTICATE) {
      failure->category = "server";
      failure->name = "AuthenticationFailed";
      failure->connecting = true;
    } else {
      understand_driver(failure, cause);
    }
  }
}

/* A text that leaves a person without a way on gets one. */
static char *explain(const smig_mongo_connection_t *connection, const failure_t *failure, const bson_error_t *cause) {
  const char *hosts = smig_mongo_connection_hosts(connection);
  if (failure->native == 20 && strstr(cause->message, "Transaction numbers"))
    return bson_strdup_printf(
        "transactions need a replica set or a sharded cluster, and the server at %s is standalone; "
        "start it with --replSet and initiate the set",
        hosts);
  if (strstr(cause->message, "Server does not support sessions") ||
      strstr(cause->message, "Server doesn't support sessions"))
    return bson_strdup_printf(
        "the server at %s offers no sessions; a data-bearing member must be reachable, and MongoDB "
        "5.0 or later",
        hosts);
  return one_line(cause->message[0] ? cause->message : "the driver gave no reason");
}

/* ---------------------------------------------------------------- the error */

static void append_labels(bson_t *details, const bson_t *reply) {
  bson_t array;
  bson_iter_t labels;
  uint32_t count = 0;
  BSON_APPEND_ARRAY_BEGIN(details, "labels", &array);
  if (find_array(reply, "errorLabels", &labels))
    while (bson_iter_next(&labels)) {
      char buffer[16];
      const char *key;
      bson_uint32_to_string(count++, &key, buffer, sizeof buffer);
      bson_append_iter(&array, key, -1, &labels);
    }
  bson_append_array_end(details, &array);
}

static void append_message(bson_t *document, const bson_t *from) {
  const char *text = find_text(from, "errmsg");
  char *line = one_line(text ? text : "");
  BSON_APPEND_UTF8(document, "message", line);
  bson_free(line);
}

/* Index, code and text; never the document, which may hold personal data. */
static void append_write_errors(bson_t *details, const bson_t *reply) {
  bson_iter_t errors;
  if (!find_array(reply, "writeErrors", &errors)) return;
  bson_t array;
  uint32_t count = 0;
  BSON_APPEND_ARRAY_BEGIN(details, "write_errors", &array);
  while (bson_iter_next(&errors)) {
    if (!BSON_ITER_HOLDS_DOCUMENT(&errors)) continue;
    uint32_t length;
    const uint8_t *bytes;
    bson_t from, to;
    bson_iter_t index;
    bson_iter_document(&errors, &length, &bytes);
    if (!bson_init_static(&from, bytes, length)) continue;
    char buffer[16];
    const char *key;
    bson_uint32_to_string(count++, &key, buffer, sizeof buffer);
    bson_append_document_begin(&array, key, -1, &to);
    if (find(&from, "index", &index)) BSON_APPEND_INT64(&to, "index", bson_iter_as_int64(&index) + 1);
    BSON_APPEND_INT32(&to, "code", find_code(&from));
    append_message(&to, &from);
    bson_append_document_end(&array, &to);
  }
  bson_append_array_end(details, &array);
}

static void append_write_concern_error(bson_t *details, const bson_t *reply) {
  bson_t from, to;
  if (!find_write_concern_error(reply, &from)) return;
  BSON_APPEND_DOCUMENT_BEGIN(details, "write_concern_error", &to);
  BSON_APPEND_INT32(&to, "code", find_code(&from));
  append_message(&to, &from);
  bson_append_document_end(details, &to);
}

static void append_details(bson_t *details, const failure_t *failure, const char *operation, const char *namespace_,
                           const bson_t *reply) {
  BSON_APPEND_UTF8(details, "category", failure->category);
  if (failure->native) BSON_APPEND_INT32(details, "native", failure->native);
  if (operation) BSON_APPEND_UTF8(details, "operation", operation);
  if (namespace_) BSON_APPEND_UTF8(details, "namespace", namespace_);
  append_labels(details, reply);
  BSON_APPEND_BOOL(details, "retryable", failure->retryable);
  BSON_APPEND_BOOL(details, "outcome_unknown", failure->outcome_unknown);
  BSON_APPEND_BOOL(details, "timeout", failure->timeout);
  append_write_errors(details, reply);
  append_write_concern_error(details, reply);
  if (reply && !bson_empty(reply)) BSON_APPEND_DOCUMENT(details, "reply", reply);
}

static void set_failure(smig_mongo_connection_t *connection, smig_error_t *error, const failure_t *failure,
                        const char *operation, const char *namespace_) {
  const char *hosts = smig_mongo_connection_hosts(connection);
  bool opening = operation && strcmp(operation, "connect") == 0;
  if (failure->connecting && strcmp(failure->name, "AuthenticationFailed") == 0)
    smig_error_set(
        error, SMIG_CONNECTION_FAILED,
        "the mongodb server at %s refused the credentials: %s; check user, password and authSource of the uri", hosts,
        failure->text);
  else if (opening)
    smig_error_set(error, SMIG_CONNECTION_FAILED,
                   "cannot reach mongodb at %s: %s; check that the server runs and that the uri names it", hosts,
                   failure->text);
  else
    smig_error_set_foreign(error, failure->name, "%s%s%s failed: %s", operation ? operation : "call",
                           namespace_ ? " " : "", namespace_ ? namespace_ : "", failure->text);
  bson_t *details = smig_error_details(error);
  if (details && error->code == SMIG_CONNECTION_FAILED) BSON_APPEND_UTF8(details, "hosts", hosts);
}

/* The driver's failure below the guard's reason. */
static void append_cause(bson_t *details, const failure_t *failure, const char *operation, const char *namespace_) {
  bson_t cause;
  BSON_APPEND_DOCUMENT_BEGIN(details, "cause", &cause);
  BSON_APPEND_UTF8(&cause, "code", failure->name);
  BSON_APPEND_UTF8(&cause, "message", failure->text);
  if (operation) BSON_APPEND_UTF8(&cause, "operation", operation);
  if (namespace_) BSON_APPEND_UTF8(&cause, "namespace", namespace_);
  BSON_APPEND_BOOL(&cause, "outcome_unknown", failure->outcome_unknown);
  bson_append_document_end(details, &cause);
}

void smig_mongo_error(smig_mongo_connection_t *connection, smig_error_t *error, const char *operation,
                      const char *namespace_, const bson_t *reply, const bson_error_t *cause) {
  smig_stream_gate_t *gate = smig_mongo_connection_gate(connection);
  smig_error_t local = SMIG_ERROR_INIT, *to = error ? error : &local;
  failure_t failure = {0};
  understand(&failure, gate, reply, cause);
  failure.text = explain(connection, &failure, cause);
  if (has_label(reply, "errorLabels", "RetryableWriteError") ||
      has_label(reply, "errorLabels", "TransientTransactionError"))
    failure.retryable = true;
  if (has_label(reply, "errorLabels", "UnknownTransactionCommitResult")) failure.outcome_unknown = true;
  if (only_reads(operation)) failure.outcome_unknown = false;

  if (gate->guard && !smig_guard_check(gate->guard, false, to)) {
    append_cause(smig_error_details(to), &failure, operation, namespace_);
  } else {
    set_failure(connection, to, &failure, operation, namespace_);
    append_details(smig_error_details(to), &failure, operation, namespace_, reply);
  }
  gate->timed_out = false;
  bson_free(failure.text);
  bson_free(failure.name_owned);
  smig_error_release(&local);
}

bool smig_error_has_label(const smig_error_t *error, const char *label) {
  return error->details && has_label(error->details, "labels", label);
}
