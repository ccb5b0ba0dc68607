/*
 * What the files of the S3 client share: the client, an exchange, and who does what with it.
 *
 *     exchange.c  starts, drives and ends exchanges      send.c    signs a try and puts it on an easy handle
 *     answer.c    takes an answer's headers and body     stream.c  holds a stream's bytes, and takes up a body that broke off
 *     failure.c   says why a try failed                  retry.c   says what to do then (pure)
 *     hash.c      the worker that hashes bodies          endpoint.c  where requests go
 *
 * Users: s3/ alone, and its unit tests. Threads: everything belongs to the client's thread but a hash job, see hash.c. libcurl's
 * callbacks touch their exchange's own memory alone.
 */
#ifndef SMIG_S3_INTERNAL_H
#define SMIG_S3_INTERNAL_H

#include "credentials.h"
#include "curl_table.h"
#include "retry.h"
#include "s3.h"
#include "sign.h"

enum {
  SMIG_S3_IDLE_HANDLES = 64,       /* easy handles that are kept */
  SMIG_S3_CONNECT_MS = 10000,      /* a connection is made within */
  SMIG_S3_STALL_S = 30,            /* without a byte for so long a try has failed */
  SMIG_S3_WORK_S = 600,            /* the same where the server has gigabytes to copy before it says anything */
  SMIG_S3_STREAM_SIZE = 512 << 10, /* of a stream's bytes held; libcurl holds as much again at most */
  SMIG_S3_BUFFER_SIZE = 512 << 10, /* libcurl's, each way */
  SMIG_S3_ERROR_MAX = 64 << 10,    /* of a refusal's body kept */
  SMIG_S3_HEADERS_MAX = 256 << 10,
};

#define SMIG_S3_LENGTH_MAX (INT64_C(1) << 60) /* of what may be a length; with it no sum overflows */

/* ---------------------------------------------------------------- endpoint */

typedef struct smig_s3_endpoint {
  char *authority; /* host, and the port unless it is the scheme's own */
  char *path;      /* "" or "/base" */
  bool tls, is_address /* the host is a number: no bucket can stand before it */;
} smig_s3_endpoint_t;

/* INVALID_OPTIONS: "<option> <why>", details.option. Returns false. */
bool smig_s3_refuse_option(smig_error_t *error, const char *option, const char *why);
/* Reads a URL; INVALID_OPTIONS names `option`. Never prints what may be a password. */
bool smig_s3_endpoint_parse(const char *url, const char *option, bool insecure, smig_s3_endpoint_t *endpoint,
                            smig_error_t *error);
void smig_s3_endpoint_release(smig_s3_endpoint_t *endpoint);
/* A region's name: letters, digits, "-" and "_", at most 63. */
bool smig_s3_is_region(const char *region);

/* Where one request goes: for the URL and for the signature. */
typedef struct smig_s3_target {
  char *host, *path; /* the path encoded; bson_free */
} smig_s3_target_t;
/* Error "InvalidArgument": a bucket or key that cannot be named. */
bool smig_s3_target(const smig_s3_t *client, const smig_s3_request_t *request, const char *region,
                    smig_s3_target_t *target, smig_error_t *error);
void smig_s3_target_release(smig_s3_target_t *target);

/* -------------------------------------------------------------------- hash */

typedef struct smig_s3_hasher smig_s3_hasher_t;

/* A body to hash: memory, or where that is NULL a range of a file. Owned by whoever submits it, until it is done or cancelled. */
typedef struct smig_s3_hash_job {
  const void *memory;
  int file;
  int64_t offset, length;
  uint8_t digest[32];
  int failure; /* errno; ENODATA: the file ended early */
  bool done, cancelled;
  struct smig_s3_hash_job *next;
} smig_s3_hash_job_t;

/* The worker starts with the first job. `wake` is called by it after each job. */
smig_s3_hasher_t *smig_s3_hasher_new(void (*wake)(void *), void *user);
void smig_s3_hasher_free(smig_s3_hasher_t *hasher);
void smig_s3_hasher_submit(smig_s3_hasher_t *hasher, smig_s3_hash_job_t *job);
bool smig_s3_hasher_is_done(smig_s3_hasher_t *hasher, const smig_s3_hash_job_t *job);
/* Returns when the worker touches the job no more. */
void smig_s3_hasher_cancel(smig_s3_hasher_t *hasher, smig_s3_hash_job_t *job);

/* ------------------------------------------------------------------ client */

struct smig_s3 {
  smig_s3_config_t config; /* own copies */
  bool has_endpoint;       /* by configuration or environment; else AWS's of the region */
  smig_s3_endpoint_t endpoint;
  char *endpoint_text, *region, *ca_file;
  smig_s3_fields_t bucket_regions; /* found out: bucket, region */
  smig_credentials_t *credentials;
  smig_s3_signing_key_t signing_key; /* the last one */
  int64_t clock_offset_ms;           /* the server's time less ours, once it called ours wrong */
  const struct smig_guard *guard;
  int64_t limit_ms;
  int stall_s;

  const smig_curl_t *curl; /* NULL until the first exchange */
  CURLM *multi;
  CURL *idle[SMIG_S3_IDLE_HANDLES];
  size_t idle_count;
  smig_s3_hasher_t *hasher;
  smig_s3_exchange_t *exchanges;
  bool stirred;    /* something was begun or taken up that libcurl has not seen yet */
  uint64_t events; /* counts what somebody may wait for */
};

/* Opens libcurl at the first call. */
bool smig_s3_client_prepare(smig_s3_t *client, smig_error_t *error);
/* What smig_s3_region_of says from now on. */
void smig_s3_remember_region(smig_s3_t *client, const char *bucket, const char *region);

/* ---------------------------------------------------------------- exchange */

typedef enum smig_s3_state { SMIG_S3_HASHING, SMIG_S3_WAITING, SMIG_S3_SENDING, SMIG_S3_ENDED } smig_s3_state_t;

typedef struct smig_s3_text {
  char *bytes;
  size_t length, capacity;
} smig_s3_text_t;

/* What the tries of an exchange have received of the object. */
typedef struct smig_s3_received {
  int64_t bytes;       /* so far, by all tries */
  int64_t first, last; /* of the object, as the first answer said; last -1: unknown */
  char *etag;          /* a strong one, so that a body can be taken up; NULL: none */
  int status;          /* of the first good answer, once its body was taken up; 0: it was not */
  smig_s3_fields_t headers;
} smig_s3_received_t;

struct smig_s3_exchange {
  smig_s3_t *client;
  smig_s3_exchange_t *previous, *next;
  smig_s3_request_t request; /* own copies but for the bodies */
  smig_s3_state_t state;

  /* Its tries. */
  int tries; /* since the last progress */
  bool clock_set, credentials_renewed, region_changed;
  bool wants_new_credentials;            /* the next try's, unless others have fetched them meanwhile */
  uint64_t credentials_fetch;            /* which fetch's the last try was signed with */
  int64_t due_mono_ms, deadline_mono_ms; /* INT64_MAX: none */
  bool maybe_done;                       /* a try may have done what it should, without our being told */

  /* The request's body. */
  bool hashed;
  char payload_hash[SMIG_S3_HEX_SIZE];
  smig_s3_hash_job_t *job;
  int64_t uploaded; /* of this try */
  bool sent;        /* this try, perhaps in part: libcurl may want to repeat it */
  int source_errno; /* reading the file failed; ENODATA: it ended early */

  /* The try under way. */
  CURL *easy;
  struct curl_slist *lines; /* one allocation */
  char *region;             /* it was signed for */
  int64_t signed_wall_ms;   /* by the server's clock, as far as it is known */
  bool takes_up;            /* it asks for what is missing */
  char curl_text[CURL_ERROR_SIZE];

  /* Its answer. */
  int status;
  smig_s3_fields_t headers;
  size_t headers_size;
  bool headers_complete, good;
  int64_t sent_boot_ms, answered_boot_ms, server_date_ms;
  const char *refused; /* by us: why an answer is not taken; NULL: it is */
  bool too_large;
  int sink_errno;
  smig_s3_text_t body, refusal; /* a good answer's to memory; why the service did not do it */
  smig_s3_received_t received;
  int64_t received_before; /* by the tries before this one */

  /* A stream. */
  bool handed; /* finish gave the headers out */
  char *held;
  size_t held_from, held_to;
  bool paused;

  bool failed;
  smig_error_t error;
};

/* send.c: begins a try; false with *error when it cannot be. Ends it: frees what it has, keeps the connection. */
bool smig_s3_send(smig_s3_exchange_t *exchange, smig_error_t *error);
void smig_s3_detach(smig_s3_exchange_t *exchange);

/* answer.c: libcurl's callbacks. */
size_t smig_s3_on_header(char *bytes, size_t one, size_t length, void *exchange);
size_t smig_s3_on_body(char *bytes, size_t one, size_t length, void *exchange);

/* stream.c */
bool smig_s3_can_take_up(const smig_s3_exchange_t *exchange);
/* Before the next try: forgets the last answer, and what was received unless that is taken up. */
void smig_s3_forget_answer(smig_s3_exchange_t *exchange);
void smig_s3_received_release(smig_s3_received_t *received);
/* Notes what object the first good answer is of; of a later one: whether it goes on where the last broke off. */
const char *smig_s3_note_object(smig_s3_exchange_t *exchange);
size_t smig_s3_hold(smig_s3_exchange_t *exchange, const char *bytes, size_t length);
void smig_s3_resume(smig_s3_exchange_t *exchange);

/* failure.c */
typedef struct smig_s3_failure {
  const char *category;
  char *code, *text, *request_id, *host_id, *region; /* text: one line; region: the one that the answer wants */
  int status;
  smig_s3_remedy_t remedy;
  bool timeout, retryable, outcome_unknown;
  int64_t retry_after_ms;
} smig_s3_failure_t;

/* Whether the try succeeded; else why not. */
bool smig_s3_judge(const smig_s3_exchange_t *exchange, CURLcode result, smig_s3_failure_t *failure);
/* Of the exchange as a whole, where no try is to blame. Takes `text`. */
void smig_s3_failure_set(smig_s3_failure_t *failure, const char *category, const char *code, char *text);
void smig_s3_failure_release(smig_s3_failure_t *failure);
/* A failure from an error of somebody below, which it releases. */
void smig_s3_failure_from(smig_s3_failure_t *failure, const char *category, smig_error_t *error);
/* Makes the error; while the guard is shut it is the guard's, with the failure as its cause. */
void smig_s3_failure_error(const smig_s3_exchange_t *exchange, const smig_s3_failure_t *failure, smig_error_t *error);
/* Whether what the exchange asks for may have been done by the tries so far, the one under way included. */
bool smig_s3_is_unknown(const smig_s3_exchange_t *exchange);

#endif
