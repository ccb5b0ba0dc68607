/* Keys of a bucket by prefix, see s3_listing.h. */
#include "s3_listing.h"

#include <string.h>

enum { PAGE = 100 };

/* One page. *token (bson_free) is where the next one begins; NULL: this was the last, or the listing was ended. */
static bool read_page(const char *text, size_t length, smig_s3_key_fn each, void *user, char **token,
                      smig_error_t *lower) {
  smig_xml_t *xml = smig_xml_parse(text, length, lower);
  if (!xml) return false;
  const smig_xml_node_t *root = smig_xml_root(xml);
  const char *encoding = smig_xml_text(root, "EncodingType"), *more = smig_xml_text(root, "IsTruncated");
  const char *next = smig_xml_text(root, "NextContinuationToken");
  bool encoded = encoding && strcmp(encoding, "url") == 0, goes_on = true;
  for (const smig_xml_node_t *node = root->first; node && goes_on; node = node->next) {
    const smig_xml_node_t *key = strcmp(node->name, "Contents") == 0 ? smig_xml_child(node, "Key") : NULL;
    if (!key) continue;
    char *name = bson_malloc(key->text_length + 1);
    memcpy(name, key->text, key->text_length + 1);
    size_t name_length = encoded ? smig_s3_decode(name, key->text_length, true) : key->text_length;
    name[name_length] = '\0';
    goes_on = each(name, name_length, user);
    bson_free(name);
  }
  *token = goes_on && more && strcmp(more, "true") == 0 ? bson_strdup(next) : NULL;
  smig_xml_free(xml);
  return true;
}

bool smig_s3_list(smig_s3_t *client, const char *bucket, const char *prefix, const char *delimiter, smig_s3_key_fn each,
                  void *user, smig_error_t *lower) {
  char page[16], *token = NULL;
  bool good;
  bson_snprintf(page, sizeof page, "%d", PAGE);
  do {
    smig_s3_request_t request = {.operation = "list", .method = "GET", .bucket = bucket};
    smig_s3_response_t response;
    smig_s3_fields_add(&request.query, "list-type", "2");
    smig_s3_fields_add(&request.query, "encoding-type", "url");
    smig_s3_fields_add(&request.query, "max-keys", page);
    if (*prefix) smig_s3_fields_add(&request.query, "prefix", prefix);
    if (delimiter) smig_s3_fields_add(&request.query, "delimiter", delimiter);
    if (token) smig_s3_fields_add(&request.query, "continuation-token", token);
    bson_free(token);
    token = NULL;
    good = smig_s3_perform(client, &request, &response, lower) &&
           read_page(response.body ? response.body : "", response.body_length, each, user, &token, lower);
    smig_s3_fields_release(&request.query);
    smig_s3_response_release(&response);
  } while (good && token);
  bson_free(token);
  return good;
}
