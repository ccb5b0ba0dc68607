/* See retry.h. */
#include "retry.h"

#include <string.h>

typedef struct rule {
  const char *code;
  smig_s3_remedy_t remedy;
  bool refused; /* nothing was done, whatever the status says */
} rule_t;

static const rule_t rules[] = {
    {"SlowDown", SMIG_S3_WAIT, true},
    {"InternalError", SMIG_S3_WAIT, false},
    {"InternalFailure", SMIG_S3_WAIT, false},
    {"ServiceUnavailable", SMIG_S3_WAIT, false},
    {"RequestTimeout", SMIG_S3_WAIT, false},
    {"RequestTimeoutException", SMIG_S3_WAIT, false},
    {"Throttling", SMIG_S3_WAIT, true},
    {"ThrottlingException", SMIG_S3_WAIT, true},
    {"ThrottledException", SMIG_S3_WAIT, true},
    {"RequestThrottled", SMIG_S3_WAIT, true},
    {"RequestThrottledException", SMIG_S3_WAIT, true},
    {"RequestLimitExceeded", SMIG_S3_WAIT, true},
    {"TooManyRequests", SMIG_S3_WAIT, true},
    {"TooManyRequestsException", SMIG_S3_WAIT, true},
    {"BandwidthLimitExceeded", SMIG_S3_WAIT, true},
    {"RequestTimeTooSkewed", SMIG_S3_SET_CLOCK, true},
    {"ExpiredToken", SMIG_S3_NEW_CREDENTIALS, true},
    {"ExpiredTokenException", SMIG_S3_NEW_CREDENTIALS, true},
    {"TokenRefreshRequired", SMIG_S3_NEW_CREDENTIALS, true},
    {"NotImplemented", SMIG_S3_NO_REMEDY, true},
};

static const rule_t *find_rule(const char *code) {
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
    if (strcmp(rules[i].code, code) == 0) return &rules[i];
  return NULL;
}

smig_s3_remedy_t smig_s3_remedy(int status, const char *code, bool names_region) {
  if (names_region && (status == 301 || status == 307 || status == 400)) return SMIG_S3_OTHER_REGION;
  const rule_t *rule = find_rule(code);
  if (rule) return rule->remedy;
  return status == 429 || status == 500 || (status >= 502 && status <= 504) ? SMIG_S3_WAIT : SMIG_S3_NO_REMEDY;
}

bool smig_s3_leaves_unknown(int status, const char *code) {
  const rule_t *rule = find_rule(code);
  if (rule && rule->refused) return false;
  return status >= 500 || (rule && rule->remedy == SMIG_S3_WAIT);
}

int64_t smig_s3_retry_delay_ms(int tries, uint32_t random, int64_t retry_after_ms) {
  int64_t ceiling = SMIG_S3_RETRY_CAP_MS;
  if (tries < 9) ceiling = (int64_t)SMIG_S3_RETRY_BASE_MS << (tries > 0 ? tries - 1 : 0);
  if (ceiling > SMIG_S3_RETRY_CAP_MS) ceiling = SMIG_S3_RETRY_CAP_MS;
  int64_t delay = (int64_t)random % (ceiling + 1);
  if (retry_after_ms > SMIG_S3_RETRY_CAP_MS) retry_after_ms = SMIG_S3_RETRY_CAP_MS;
  return delay > retry_after_ms ? delay : retry_after_ms;
}
