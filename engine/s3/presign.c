/* URLs that carry their own signature. See s3.h. Sends nothing but what finding credentials needs. */
#include "internal.h"

#include "clock.h"

#include <string.h>

char *smig_s3_presign(smig_s3_t *client, const smig_s3_request_t *request, int64_t expires_s, smig_error_t *error) {
  const smig_s3_credentials_t *credentials;
  const char *region = smig_s3_region_of(client, request->bucket);
  smig_s3_target_t target;
  if (expires_s < 1 || expires_s > 604800) {
    smig_error_set_foreign(error, "InvalidArgument", "a presigned URL is good for 1 to 604800 seconds (7 days)");
    return NULL;
  }
  if (!smig_s3_target(client, request, region, &target, error)) return NULL;
  char *url = NULL;
  if (smig_credentials_get(client->credentials, false, &credentials, error)) {
    smig_s3_fields_t headers = {0};
    for (size_t i = 0; i < request->headers.count; i++)
      smig_s3_fields_add(&headers, request->headers.items[i].name, request->headers.items[i].value);
    smig_s3_fields_add(&headers, "host", target.host);
    smig_s3_signing_t signing = {.method = request->method,
                                 .path = target.path,
                                 .query = &request->query,
                                 .headers = &headers,
                                 .payload_hash = SMIG_S3_UNSIGNED,
                                 .region = region,
                                 .service = "s3",
                                 .now_wall_ms = smig_clock_wall_ms() + client->clock_offset_ms,
                                 .credentials = credentials};
    char *query = smig_s3_presigned_query(&signing, expires_s);
    url = bson_strdup_printf("%s://%s%s?%s", client->endpoint.tls ? "https" : "http", target.host, target.path, query);
    bson_free(query);
    smig_s3_fields_release(&headers);
  }
  smig_s3_target_release(&target);
  return url;
}
