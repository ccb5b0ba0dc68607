/*
 * The floor of the S3 benches: what smartmigration-lua sends, on bare libcurl (one multi handle) and OpenSSL.
 *
 *     s3_floor plant BUCKET PREFIX COUNT      puts COUNT small objects, 16 at a time
 *     s3_floor move BUCKET FROM TO            moves all below FROM, 16 at a time: HEAD, HEAD, copy, DELETE of each
 *     s3_floor list BUCKET PREFIX FILE        writes a line for every object below PREFIX: key, size, ETag
 *     s3_floor put BUCKET KEY FILE            in parts of 8 MiB, 4 at a time, hashed ahead by a thread
 *     s3_floor get BUCKET KEY FILE            one GET, into a file that is on the disk at the end
 *
 * Endpoint (http) and credentials: SMARTMIGRATION_TEST_S3_ENDPOINT, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION. Keys
 * hold nothing that must be encoded. Anything unexpected ends the program.
 */
#include <curl/curl.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { IN_FLIGHT = 16, PARTS_IN_FLIGHT = 4, PART = 8 << 20, PIECE = 1 << 20, BUFFER = 512 << 10, HEADERS = 8 };

static const char *endpoint, *host, *access_key, *secret_key, *region, *bucket;
static CURLM *multi;

static void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(1);
}

__attribute__((format(printf, 1, 2))) static char *text_of(const char *format, ...) {
  char *text;
  va_list arguments;
  va_start(arguments, format);
  if (vasprintf(&text, format, arguments) < 0) die("no memory");
  va_end(arguments);
  return text;
}

/* ---------------------------------------------------------------- requests */

typedef struct request {
  CURL *easy;
  struct curl_slist *lines;
  long status;
  long long size; /* content-length */
  char etag[80];  /* with its quotation marks */
  char *body;     /* of the answer */
  size_t length, capacity;
  int source, sink; /* files; -1: none */
  off_t offset;
  size_t left;

  /* What it is for. */
  int stage, number;
  char *target;
  char wanted_etag[80];
} request_t;

static void hex(const uint8_t *digest, char out[65]) {
  static const char digits[] = "0123456789abcdef";
  for (int i = 0; i < 32; i++) {
    out[2 * i] = digits[digest[i] >> 4];
    out[2 * i + 1] = digits[digest[i] & 15];
  }
  out[64] = '\0';
}

static void sha256(const void *bytes, size_t length, char out[65]) {
  uint8_t digest[32];
  EVP_Digest(bytes, length, digest, NULL, EVP_sha256(), NULL);
  hex(digest, out);
}

static void hmac(const void *key, size_t key_length, const char *text, uint8_t out[32]) {
  uint8_t digest[32];
  HMAC(EVP_sha256(), key, (int)key_length, (const uint8_t *)text, strlen(text), digest, NULL);
  memcpy(out, digest, 32);
}

static int by_name(const void *a, const void *b) {
  const char *one = *(char *const *)a, *other = *(char *const *)b;
  size_t length = strcspn(one, ":"), other_length = strcspn(other, ":");
  int order = strncmp(one, other, length < other_length ? length : other_length);
  return order ? order : (length > other_length) - (length < other_length);
}

/* Signature Version 4 over all of the headers ("name:value"), which are freed. */
static struct curl_slist *sign(const char *method, const char *path, const char *query, const char *hash,
                               const char *date, char **headers, int count) {
  static uint8_t key[32];
  static char day[9];
  if (strncmp(day, date, 8) != 0) {
    snprintf(day, sizeof day, "%.8s", date);
    char *secret = text_of("AWS4%s", secret_key);
    hmac(secret, strlen(secret), day, key);
    hmac(key, 32, region, key);
    hmac(key, 32, "s3", key);
    hmac(key, 32, "aws4_request", key);
    free(secret);
  }
  char canonical[8192], names[512], digest[65], signature[65];
  uint8_t signed_bytes[32];
  int at = snprintf(canonical, sizeof canonical, "%s\n%s\n%s\n", method, path, query), name_at = 0;
  struct curl_slist *lines = NULL;
  qsort(headers, (size_t)count, sizeof *headers, by_name);
  for (int i = 0; i < count; i++) {
    at += snprintf(canonical + at, sizeof canonical - (size_t)at, "%s\n", headers[i]);
    name_at += snprintf(names + name_at, sizeof names - (size_t)name_at, "%s%.*s", i ? ";" : "",
                        (int)strcspn(headers[i], ":"), headers[i]);
    lines = curl_slist_append(lines, headers[i]);
    free(headers[i]);
  }
  snprintf(canonical + at, sizeof canonical - (size_t)at, "\n%s\n%s", names, hash);
  sha256(canonical, strlen(canonical), digest);
  char *scope = text_of("%s/%s/s3/aws4_request", day, region);
  char *text = text_of("AWS4-HMAC-SHA256\n%s\n%s\n%s", date, scope, digest);
  hmac(key, 32, text, signed_bytes);
  hex(signed_bytes, signature);
  char *line = text_of("authorization: AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s", access_key,
                       scope, names, signature);
  lines = curl_slist_append(lines, line);
  free(line);
  free(text);
  free(scope);
  lines = curl_slist_append(lines, "expect:");
  return curl_slist_append(lines, "content-type:");
}

static size_t on_header(char *line, size_t one, size_t length, void *user) {
  request_t *request = user;
  (void)one;
  if (strncasecmp(line, "etag:", 5) == 0) sscanf(line + 5, " %79[^\r\n]", request->etag);
  if (strncasecmp(line, "content-length:", 15) == 0) request->size = atoll(line + 15);
  return length;
}

static size_t on_body(char *bytes, size_t one, size_t length, void *user) {
  request_t *request = user;
  (void)one;
  if (request->sink >= 0) {
    for (size_t done = 0; done < length;) {
      ssize_t written = write(request->sink, bytes + done, length - done);
      if (written <= 0) die("the file cannot be written");
      done += (size_t)written;
    }
    return length;
  }
  if (request->length + length + 1 > request->capacity) {
    request->capacity = 2 * (request->length + length + 1);
    request->body = realloc(request->body, request->capacity);
  }
  memcpy(request->body + request->length, bytes, length);
  request->length += length;
  request->body[request->length] = '\0';
  return length;
}

static size_t on_read(char *to, size_t one, size_t room, void *user) {
  request_t *request = user;
  (void)one;
  ssize_t got = pread(request->source, to, request->left < room ? request->left : room, request->offset);
  if (got < 0) die("the file cannot be read");
  request->offset += got;
  request->left -= (size_t)got;
  return (size_t)got;
}

static void prepare(request_t *request) {
  CURL *easy = request->easy = curl_easy_init();
  request->source = request->sink = -1;
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)BUFFER);
  curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)BUFFER);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
  curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
  curl_easy_setopt(easy, CURLOPT_READDATA, request);
  curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
}

/* Begins a request. `body` is NULL for a range of request->source, with its hash. More headers ("name:value") end with NULL. */
static void send_request(request_t *request, const char *method, const char *key, const char *query, const char *body,
                         size_t length, const char *hash, ...) {
  static time_t second;
  static char date[17];
  time_t now = time(NULL);
  if (now != second) strftime(date, sizeof date, "%Y%m%dT%H%M%SZ", gmtime(&now));
  second = now;
  char *headers[HEADERS], body_hash[65];
  int count = 0;
  if (!hash) sha256(body, length, body_hash);
  hash = hash ? hash : body_hash;
  va_list more;
  va_start(more, hash);
  for (char *header; (header = va_arg(more, char *));) headers[count++] = header;
  va_end(more);
  headers[count++] = text_of("host:%s", host);
  headers[count++] = text_of("x-amz-date:%s", date);
  headers[count++] = text_of("x-amz-content-sha256:%s", hash);
  char *path = text_of("/%s%s%s", bucket, key ? "/" : "", key ? key : "");
  char *url = text_of("%s%s%s%s", endpoint, path, *query ? "?" : "", query);
  CURL *easy = request->easy;
  curl_slist_free_all(request->lines);
  request->lines = sign(method, path, query, hash, date, headers, count);
  request->length = 0;
  request->size = -1;
  request->etag[0] = '\0';
  curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
  curl_easy_setopt(easy, CURLOPT_URL, url);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, request->lines);
  curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
  if (strcmp(method, "HEAD") == 0) {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  } else if (!body) {
    curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->left);
  } else if (*method == 'P') {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)length);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
  }
  curl_multi_add_handle(multi, easy);
  free(url);
  free(path);
}

/* The next request that has ended; NULL: none is under way, or `wake` was called. */
static request_t *next_ended(void) {
  int running, left;
  for (bool waited = false;; waited = true) {
    curl_multi_perform(multi, &running);
    CURLMsg *message = curl_multi_info_read(multi, &left);
    if (message) {
      CURL *easy = message->easy_handle;
      request_t *request;
      if (message->data.result != CURLE_OK) die("%s", curl_easy_strerror(message->data.result));
      curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&request);
      curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &request->status);
      curl_multi_remove_handle(multi, easy);
      return request;
    }
    if (waited) return NULL;
    curl_multi_poll(multi, NULL, 0, 1000, NULL);
  }
}

static void expect(const request_t *request, long status) {
  if (request->status != status) die("status %ld: %s", request->status, request->length ? request->body : "");
}

static void finish(request_t *request, long status) {
  while (next_ended() != request) {}
  expect(request, status);
}

/* ------------------------------------------------------------------- lists */

/* Where the text of the next element of that name begins; NULL: there is none. */
static char *text_in(char *at, const char *name) {
  char tag[64];
  size_t length = (size_t)snprintf(tag, sizeof tag, "<%s>", name);
  char *found = strstr(at, tag);
  return found ? found + length : NULL;
}

typedef void on_object_t(void *user, const char *key, const char *size, const char *etag);

/* A row of a page: `&quot;` or `&#34;` around the ETag is all that is escaped. */
static void take_row(char *row, on_object_t *on_object, void *user) {
  char *key = text_in(row, "Key"), *size = text_in(row, "Size"), *etag = text_in(row, "ETag");
  if (!key || !size || !etag) die("a row without key, size or ETag");
  key[strcspn(key, "<")] = size[strcspn(size, "<")] = '\0';
  etag += strcspn(etag, ";") + 1;
  etag[strcspn(etag, "&")] = '\0';
  on_object(user, key, size, etag);
}

static void list(const char *prefix, on_object_t *on_object, void *user) {
  request_t request = {0};
  prepare(&request);
  char *token = NULL, *encoded_prefix = curl_easy_escape(request.easy, prefix, 0);
  do {
    char *encoded = curl_easy_escape(request.easy, token ? token : "", 0);
    char *query = text_of("%s%s%sencoding-type=url&list-type=2&max-keys=1000&prefix=%s",
                          token ? "continuation-token=" : "", encoded, token ? "&" : "", encoded_prefix);
    send_request(&request, "GET", NULL, query, "", 0, NULL, NULL);
    finish(&request, 200);
    free(query);
    free(token);
    curl_free(encoded);
    token = text_in(request.body, "NextContinuationToken");
    if (token) token = strndup(token, strcspn(token, "<"));
    for (char *row = request.body, *end; (row = text_in(row, "Contents")); row = end + 1) {
      end = strstr(row, "</Contents>");
      if (!end) die("a row without an end");
      *end = '\0';
      take_row(row, on_object, user);
    }
  } while (token);
  curl_free(encoded_prefix);
}

static void print_row(void *file, const char *key, const char *size, const char *etag) {
  fprintf(file, "%s %s %s\n", key, size, etag);
}

static void list_to_file(const char *prefix, const char *path) {
  FILE *file = fopen(path, "w");
  if (!file) die("%s cannot be written", path);
  list(prefix, print_row, file);
  if (fclose(file) != 0) die("%s cannot be written", path);
}

/* ------------------------------------------------------------ many objects */

/* Works on the items 0 to count - 1, IN_FLIGHT at a time: `step` sends the request of request->stage, or returns false at the end. */
static void work(int count, bool (*step)(request_t *request, void *user), void *user) {
  static request_t requests[IN_FLIGHT];
  int given = 0, ended = 0;
  for (int i = 0; i < IN_FLIGHT && given < count; i++) {
    prepare(&requests[i]);
    requests[i].number = given++;
    step(&requests[i], user);
  }
  while (ended < count) {
    request_t *request = next_ended();
    if (!request) continue;
    request->stage++;
    if (step(request, user)) continue;
    ended++;
    if (given == count) continue;
    request->number = given++;
    request->stage = 0;
    step(request, user);
  }
}

static bool plant_step(request_t *request, void *prefix) {
  if (request->stage == 1) {
    expect(request, 200);
    return false;
  }
  char *key = text_of("%s%04d/%06d", (const char *)prefix, request->number / 1000, request->number);
  char *body = text_of("%0*d\n", 100 + request->number % 900, request->number);
  free(request->target);
  request->target = body; /* libcurl does not copy it */
  send_request(request, "PUT", key, "", body, strlen(body), NULL, NULL);
  free(key);
  return true;
}

typedef struct moves {
  const char *from, *to;
  char **keys;
  int count, capacity;
} moves_t;

static void take_key(void *user, const char *key, const char *size, const char *etag) {
  moves_t *moves = user;
  (void)size, (void)etag;
  if (moves->count == moves->capacity) {
    moves->capacity = moves->capacity ? 2 * moves->capacity : 1000;
    moves->keys = realloc(moves->keys, (size_t)moves->capacity * sizeof *moves->keys);
  }
  moves->keys[moves->count++] = strdup(key);
}

static bool move_step(request_t *request, void *user) {
  const moves_t *moves = user;
  const char *key = moves->keys[request->number];
  switch (request->stage) {
  case 0:
    free(request->target);
    request->target = text_of("%s%s", moves->to, key + strlen(moves->from));
    send_request(request, "HEAD", key, "", "", 0, NULL, NULL);
    return true;
  case 1:
    expect(request, 200);
    snprintf(request->wanted_etag, sizeof request->wanted_etag, "%.*s", (int)strcspn(request->etag + 1, "\""),
             request->etag + 1);
    send_request(request, "HEAD", request->target, "", "", 0, NULL, NULL);
    return true;
  case 2:
    expect(request, 404);
    send_request(request, "PUT", request->target, "", "", 0, NULL, text_of("if-none-match:*"),
                 text_of("x-amz-copy-source:/%s/%s", bucket, key),
                 text_of("x-amz-copy-source-if-match:\"%s\"", request->wanted_etag), NULL);
    return true;
  case 3:
    expect(request, 200);
    if (!text_in(request->body, "ETag") || !strstr(request->body, request->wanted_etag))
      die("the answer to a copy: %s", request->body);
    send_request(request, "DELETE", key, "", "", 0, NULL, NULL);
    return true;
  default:
    expect(request, 204);
    return false;
  }
}

static void move(const char *from, const char *to) {
  moves_t moves = {.from = from, .to = to};
  list(from, take_key, &moves);
  work(moves.count, move_step, &moves);
}

/* -------------------------------------------------------------- one object */

typedef struct upload {
  int file, parts;
  off_t size;
  _Atomic int hashed;
  char (*hashes)[65];
} upload_t;

static size_t length_of(const upload_t *upload, int part) {
  off_t left = upload->size - (off_t)part * PART;
  return left < PART ? (size_t)left : PART;
}

static void *hash_parts(void *user) {
  upload_t *upload = user;
  char *piece = malloc(PIECE);
  for (int part = 0; part < upload->parts; part++) {
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    uint8_t digest[32];
    EVP_DigestInit_ex(context, EVP_sha256(), NULL);
    for (size_t at = 0, length = length_of(upload, part); at < length;) {
      ssize_t got =
          pread(upload->file, piece, length - at < PIECE ? length - at : PIECE, (off_t)part * PART + (off_t)at);
      if (got <= 0) die("the file cannot be read");
      EVP_DigestUpdate(context, piece, (size_t)got);
      at += (size_t)got;
    }
    EVP_DigestFinal_ex(context, digest, NULL);
    EVP_MD_CTX_free(context);
    hex(digest, upload->hashes[part]);
    upload->hashed = part + 1;
    curl_multi_wakeup(multi);
  }
  free(piece);
  return NULL;
}

static char (*send_parts(upload_t *upload, const char *key, const char *id))[80] {
  char(*etags)[80] = calloc((size_t)upload->parts, sizeof *etags);
  request_t requests[PARTS_IN_FLIGHT] = {0}, *idle[PARTS_IN_FLIGHT];
  int idle_count = 0, sent = 0, ended = 0;
  for (int i = 0; i < PARTS_IN_FLIGHT; i++) {
    prepare(idle[idle_count++] = &requests[i]);
    requests[i].source = upload->file;
  }
  while (ended < upload->parts) {
    while (idle_count && sent < upload->hashed) {
      request_t *request = idle[--idle_count];
      char *query = text_of("partNumber=%d&uploadId=%s", sent + 1, id);
      request->number = sent;
      request->offset = (off_t)sent * PART;
      request->left = length_of(upload, sent);
      send_request(request, "PUT", key, query, NULL, 0, upload->hashes[sent], NULL);
      free(query);
      sent++;
    }
    request_t *request = next_ended();
    if (!request) continue;
    expect(request, 200);
    memcpy(etags[request->number], request->etag, sizeof request->etag);
    idle[idle_count++] = request;
    ended++;
  }
  return etags;
}

static void put(const char *key, const char *path) {
  struct stat about;
  upload_t upload = {.file = open(path, O_RDONLY)};
  if (upload.file < 0 || fstat(upload.file, &about) != 0) die("%s cannot be read", path);
  upload.size = about.st_size;
  upload.parts = (int)((upload.size + PART - 1) / PART);
  upload.hashes = calloc((size_t)upload.parts, sizeof *upload.hashes);
  request_t request = {0};
  prepare(&request);
  send_request(&request, "POST", key, "uploads=", "", 0, NULL, NULL);
  finish(&request, 200);
  char *id = text_in(request.body, "UploadId");
  if (!id) die("the answer names no upload");
  id = strndup(id, strcspn(id, "<"));

  pthread_t thread;
  if (pthread_create(&thread, NULL, hash_parts, &upload) != 0) die("no thread");
  char(*etags)[80] = send_parts(&upload, key, id);
  pthread_join(thread, NULL);

  char *list_of_parts = strdup(""), *query = text_of("uploadId=%s", id);
  for (int part = 0; part < upload.parts; part++) {
    char *longer =
        text_of("%s<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", list_of_parts, part + 1, etags[part]);
    free(list_of_parts);
    list_of_parts = longer;
  }
  char *body = text_of("<CompleteMultipartUpload>%s</CompleteMultipartUpload>", list_of_parts);
  send_request(&request, "POST", key, query, body, strlen(body), NULL, NULL);
  finish(&request, 200);
  if (!strstr(request.body, "<CompleteMultipartUploadResult")) die("the answer to the end: %s", request.body);
}

static void get(const char *key, const char *path) {
  request_t request = {0};
  prepare(&request);
  request.sink = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (request.sink < 0) die("%s cannot be written", path);
  send_request(&request, "GET", key, "", "", 0, NULL, NULL);
  finish(&request, 200);
  struct stat about;
  if (fstat(request.sink, &about) != 0 || about.st_size != request.size) die("%s is not as long as the object", path);
  if (fsync(request.sink) != 0) die("%s is not on the disk", path);
}

static const char *variable(const char *name) {
  const char *value = getenv(name);
  if (!value) die("%s is not set", name);
  return value;
}

int main(int argc, char **argv) {
  if (argc != 5) die("usage: s3_floor plant|move|list|put|get BUCKET ARGUMENT ARGUMENT");
  const char *mode = argv[1], *first = argv[3], *second = argv[4];
  endpoint = variable("SMARTMIGRATION_TEST_S3_ENDPOINT");
  host = endpoint + strlen("http://");
  access_key = variable("AWS_ACCESS_KEY_ID");
  secret_key = variable("AWS_SECRET_ACCESS_KEY");
  region = variable("AWS_REGION");
  bucket = argv[2];
  curl_global_init(CURL_GLOBAL_DEFAULT);
  multi = curl_multi_init();
  if (strcmp(mode, "plant") == 0)
    work(atoi(second), plant_step, (char *)first);
  else if (strcmp(mode, "move") == 0)
    move(first, second);
  else if (strcmp(mode, "list") == 0)
    list_to_file(first, second);
  else if (strcmp(mode, "put") == 0)
    put(first, second);
  else if (strcmp(mode, "get") == 0)
    get(first, second);
  else
    die("unknown mode %s", mode);
  return 0;
}
