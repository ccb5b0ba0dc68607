/*
 * The S3 client: one configured service, its credentials and connections, and signed requests on them.
 *
 * Model. A client drives any number of exchanges on one curl multi handle. An exchange is one request with all its tries: it is
 * signed, sent, sent again where that is safe (retry.c), and ends with a response or an error. Nothing happens but inside
 * `smig_s3_drive`, which every waiting function calls; so one thread can have many exchanges under way without callbacks:
 *
 *     smig_s3_request_t request = {.operation = "get", .method = "GET", .bucket = "uploads", .key = "a", .key_length = 1};
 *     smig_s3_response_t response;
 *     bool good = smig_s3_perform(client, &request, &response, &error);
 *     …
 *     smig_s3_response_release(&response);
 *
 * Users: ledger/s3_*, run/ (opens it), bindings/s3.
 * Threads. A client is used by one thread at a time; another thread opens its own (`smig_s3_reopen`). A client may keep one
 * worker of its own, which hashes bodies and touches nothing else.
 * Errors. INVALID_OPTIONS (configuration), else SMIG_FOREIGN named by the service's code ("NoSuchKey", "AccessDenied",
 * "PreconditionFailed", "SlowDown") or by ours where no service answered ("NetworkError", "Timeout", "CredentialsNotFound",
 * "InvalidResponse", "libcurlMissing"); message "<operation> '<bucket>/<key>' failed: <text>"; details {category: "s3"|"conflict"
 * (409, 412)|"network"|"timeout"|"argument", native: HTTP status, status, operation, bucket, key, request_id, host_id, retryable,
 * outcome_unknown, timeout, tries, region?, server_date? (a date), sent_boot_ms? (when the last try was sent)}. `retryable` says that
 * the same may succeed later; what could be repeated safely has been. While the guard is shut it is the guard's reason (LOCK_LOST, INTERRUPTED) instead,
 * with what was under way as details.cause {code, message, operation, bucket, key, outcome_unknown}. Never a credential, a signature, or a presigned query.
 * Units are in the names. Strings are UTF-8 but for keys, which are any bytes.
 */
#ifndef SMIG_S3_S3_H
#define SMIG_S3_S3_H

#include "smartmigration.h"

struct smig_guard;

typedef struct smig_s3 smig_s3_t;

/* ------------------------------------------------------------------ client */

/* Everything may be NULL. Copied. */
typedef struct smig_s3_config {
  const char
      *endpoint; /* "http://127.0.0.1:7070"; NULL: AWS's for the region (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL) */
  const char
      *region; /* NULL: AWS_REGION, AWS_DEFAULT_REGION, the profile's, else "us-east-1"; found out once when wrong */
  const char *bucket; /* the configured bucket: for messages and presign; requests name theirs */
  const char *style;  /* "path", "virtual"; NULL: path for an endpoint given, virtual for AWS and names without dots */
  const char *access_key_id; /* with secret_access_key: explicit credentials; NULL: as the AWS tools find them */
  const char *secret_access_key;
  const char *session_token;
  const char *profile;        /* NULL: AWS_PROFILE, else "default" */
  const char *ca_file;        /* PEM; NULL: AWS_CA_BUNDLE, else libcurl's */
  const char *sse;            /* "AES256", "aws:kms", "aws:kms:dsse": sent with every request that creates an object */
  const char *sse_kms_key_id; /* with an aws:kms sse */
  const char *expected_bucket_owner; /* account id: sent with every request on a bucket or object */
  bool insecure;                     /* plain http to a host that is not loopback is allowed */
} smig_s3_config_t;

/* Checks and copies the configuration (INVALID_OPTIONS names the option, "s3.endpoint"); sends nothing, opens no library. */
smig_s3_t *smig_s3_open(const smig_s3_config_t *config, smig_error_t *error);
/* A second client with the same configuration, for another thread; each of its exchanges ends within `limit_ms` (0: no limit). */
smig_s3_t *smig_s3_reopen(const smig_s3_t *client, int64_t limit_ms, smig_error_t *error);
/* Abandons what is under way. NULL is fine. */
void smig_s3_free(smig_s3_t *client);

/* The configured bucket, or NULL; the endpoint for messages ("http://127.0.0.1:7070", never credentials). */
const char *smig_s3_bucket(const smig_s3_t *client);
const char *smig_s3_endpoint(const smig_s3_t *client);
/* The region that requests on the bucket (NULL: on the service) are signed for: the configured one, or what the service told. */
const char *smig_s3_region_of(const smig_s3_t *client, const char *bucket);
/* Where the credentials come from, for people, and which key that is (no secret); fetched when there are none. Into the client. */
bool smig_s3_credentials(smig_s3_t *client, const char **origin, const char **access_key_id, smig_error_t *error);
/* Whether bodies travel over TLS. */
bool smig_s3_is_tls(const smig_s3_t *client);

/*
 * The guard that starting, sending and waiting obey; NULL: none. Borrowed until replaced; returns the former one. What is under way ends
 * within 1 s of its shutting.
 */
const struct smig_guard *smig_s3_set_guard(smig_s3_t *client, const struct smig_guard *guard);
/*
 * Exchanges started from now on end within limit_ms, all tries together ("Timeout"); 0: no limit but for connecting and for stalling.
 * With a guard that was asked to stop no later than the run has time to write down how it ended, but for one last look at the server.
 */
void smig_s3_limit(smig_s3_t *client, int64_t limit_ms);
/* What is left of `wanted_ms` by the guard, see core/guard.h. */
int64_t smig_s3_time_left_ms(const smig_s3_t *client, int64_t wanted_ms);

/* ------------------------------------------------------------------ fields */

/* A list of names and values: headers (names in lower case), query parameters. {0} is an empty one. */
typedef struct smig_s3_field {
  char *name, *value; /* value NULL: a query parameter without one ("uploads") */
} smig_s3_field_t;
typedef struct smig_s3_fields {
  smig_s3_field_t *items;
  size_t count;
} smig_s3_fields_t;
void smig_s3_fields_add(smig_s3_fields_t *fields, const char *name, const char *value); /* copies both */
const char *smig_s3_fields_get(const smig_s3_fields_t *fields, const char *name); /* NULL: not there; case is ignored */
void smig_s3_fields_release(smig_s3_fields_t *fields);
char smig_s3_lower(char c); /* of ASCII letters alone, whatever the locale */

/* --------------------------------------------------------------- exchanges */

typedef struct smig_s3_request {
  const char *operation; /* for messages: "put" */
  const char *method;    /* "GET", "PUT", "HEAD", "DELETE", "POST" */
  const char *bucket;    /* NULL: the service itself */
  const char *key;       /* NULL: the bucket itself. Any bytes; encoded, never normalized */
  size_t key_length;
  smig_s3_fields_t query; /* not encoded yet */
  smig_s3_fields_t
      headers; /* beside those the client adds: host, date, content hash, token, authorization, expected owner, SSE */
  bool creates_object; /* the configured SSE headers are added unless the request has its own */
  bool
      error_in_200; /* a 200 may carry an <Error> (CopyObject, CompleteMultipartUpload, DeleteObjects): it is raised; and the
                        server may work 10 minutes in silence */
  bool
      once; /* never sent again once it may have reached the server (conditional writes); its outcome is unknown then */

  /* The body: memory, borrowed until the exchange ends, or a range of a file, read by pread; neither: empty. */
  const void *body;
  size_t body_length;
  bool has_file;
  int file;
  int64_t file_offset, file_length;
  const uint8_t
      *sha256; /* 32 bytes, of the body, when the caller knows it; NULL: hashed by the worker before it is sent, or not
                            signed at all where TLS protects a file's range */

  /* Where a good answer's body goes: memory (the default, at most max_body bytes), a file (pwrite from sink_offset), or a stream. */
  int64_t max_body; /* 0: 64 MiB; more is error "BodyTooLarge" */
  bool has_sink;
  int sink;
  int64_t sink_offset;
  bool stream; /* the exchange counts as done when the headers are there; read the body with smig_s3_read */
} smig_s3_request_t;

typedef struct smig_s3_response {
  int status;
  smig_s3_fields_t headers;
  char *body; /* NUL added; NULL when it went elsewhere */
  size_t body_length;
  int64_t body_received;    /* bytes, wherever they went */
  int64_t server_date_ms;   /* the Date header as wall time; 0: none */
  int64_t sent_boot_ms;     /* when the try that was answered was sent */
  int64_t answered_boot_ms; /* when its headers arrived */
} smig_s3_response_t;
void smig_s3_response_release(smig_s3_response_t *response);

typedef struct smig_s3_exchange smig_s3_exchange_t;

/* Begins an exchange. The request is copied but for the body's memory and the files. Never NULL: a failure is told by finish. */
smig_s3_exchange_t *smig_s3_start(smig_s3_t *client, const smig_s3_request_t *request);
/* Whether finish (or, of a stream, read) would not wait. */
bool smig_s3_done(const smig_s3_exchange_t *exchange);
/* Moves everything under way on by one turn; waits until something happens, at most timeout_ms; not at all with nothing under way. */
void smig_s3_drive(smig_s3_t *client, int64_t timeout_ms);
/*
 * Waits for the end, fills *response (initialised on every path) or *error, frees the exchange. Of a stream that is good: waits for the
 * headers, and it lives on until it is abandoned.
 */
bool smig_s3_finish(smig_s3_exchange_t *exchange, smig_s3_response_t *response, smig_error_t *error);
/* Ends it at once, whatever its state, and frees it. NULL is fine. */
void smig_s3_abandon(smig_s3_exchange_t *exchange);
/* start, drive, finish. */
bool smig_s3_perform(smig_s3_t *client, const smig_s3_request_t *request, smig_s3_response_t *response,
                     smig_error_t *error);

/*
 * The next bytes of a finished stream's body, at most `size`: *got 0 at its end. Waits until some are there. At most 1 MiB is held: the
 * connection rests until what is held has been read. After a failure the stream can only be abandoned.
 *
 * A body that breaks off, wherever it goes, is taken up again by Range and If-Match where the answer had a strong ETag; then the response
 * is the first answer's. Else it begins anew, and a stream fails.
 */
bool smig_s3_read(smig_s3_exchange_t *exchange, void *buffer, size_t size, size_t *got, smig_error_t *error);
/* Whether read would not wait. */
bool smig_s3_readable(const smig_s3_exchange_t *exchange);

/* A URL that carries its own signature (method, key and the headers given), good for expires_s (1 to 604,800). bson_free. A secret. */
char *smig_s3_presign(smig_s3_t *client, const smig_s3_request_t *request, int64_t expires_s, smig_error_t *error);

/* --------------------------------------------------------------------- XML */

/*
 * A bounded document tree: at most 64 levels, 64 MiB, no entities but the five, no DTD. Names without their namespace prefix.
 * One allocation owner: everything lives until smig_xml_free.
 */
typedef struct smig_xml_node {
  const char *name;
  const char *text; /* the character data directly inside, NUL added; "" when none */
  size_t text_length;
  struct smig_xml_node *first, *next; /* first child, next sibling */
} smig_xml_node_t;
typedef struct smig_xml smig_xml_t;
/* NULL with *error ("InvalidResponse": why and where). Leading white space (keep-alives) is skipped. */
smig_xml_t *smig_xml_parse(const char *bytes, size_t length, smig_error_t *error);
const smig_xml_node_t *smig_xml_root(const smig_xml_t *xml);
const smig_xml_node_t *smig_xml_child(const smig_xml_node_t *node,
                                      const char *name);                   /* the first; NULL: none; node may be NULL */
const char *smig_xml_text(const smig_xml_node_t *node, const char *child); /* its text; NULL: no such child */
void smig_xml_free(smig_xml_t *xml);

/* Decodes %XX in place (keys of a listing with encoding-type=url); returns the new length. `+` is a blank where plus_is_blank. */
size_t smig_s3_decode(char *text, size_t length, bool plus_is_blank);

/* The client that a step's ctx works on (defined in run/); NULL without S3. */
smig_s3_t *smig_ctx_s3(const smig_ctx_t *ctx);

#endif
