#include "credentials.h"
#include <stdlib.h>
struct smig_credentials {
  const smig_s3_config_t *config;
  smig_s3_credentials_t found;
};
smig_credentials_t *smig_credentials_new(const smig_s3_config_t *config) {
  smig_credentials_t *c = bson_malloc0(sizeof *c);
  c->config = config;
  return c;
}
void smig_credentials_free(smig_credentials_t *c) {
  bson_free(c);
}
bool smig_credentials_get(smig_credentials_t *c, bool anew, const smig_s3_credentials_t **found, smig_error_t *error) {
  (void)anew;
  c->found =
      (smig_s3_credentials_t){c->config->access_key_id, c->config->secret_access_key, c->config->session_token, 0};
  if (!c->found.access_key_id) {
    c->found.access_key_id = getenv("AWS_ACCESS_KEY_ID");
    c->found.secret_access_key = getenv("AWS_SECRET_ACCESS_KEY");
  }
  *found = &c->found;
  if (!c->found.access_key_id) smig_error_set_foreign(error, "CredentialsNotFound", "none");
  return c->found.access_key_id;
}
const char *smig_credentials_region(smig_credentials_t *c) {
  (void)c;
  return getenv("AWS_REGION");
}
