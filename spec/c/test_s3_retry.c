/* What the S3 client does after a failure: the table and the waits, without a network. */
#include "check.h"
#include "retry.h"

static void the_table_says_what_to_do(void) {
  static const struct {
    int status;
    const char *code;
    bool region;
    smig_s3_remedy_t remedy;
    bool unknown;
  } cases[] = {
      {500, "InternalError", false, SMIG_S3_WAIT, true},
      {502, "HTTP502", false, SMIG_S3_WAIT, true},
      {503, "ServiceUnavailable", false, SMIG_S3_WAIT, true},
      {503, "SlowDown", false, SMIG_S3_WAIT, false},
      {503, "HTTP503", false, SMIG_S3_WAIT, true},
      {504, "HTTP504", false, SMIG_S3_WAIT, true},
      {501, "NotImplemented", false, SMIG_S3_NO_REMEDY, false},
      {505, "HTTP505", false, SMIG_S3_NO_REMEDY, true},
      {400, "RequestTimeout", false, SMIG_S3_WAIT, true},
      {400, "ThrottlingException", false, SMIG_S3_WAIT, false},
      {429, "TooManyRequests", false, SMIG_S3_WAIT, false},
      {429, "HTTP429", false, SMIG_S3_WAIT, false},
      {200, "InternalError", false, SMIG_S3_WAIT, true},
      {200, "SlowDown", false, SMIG_S3_WAIT, false},
      {200, "AccessDenied", false, SMIG_S3_NO_REMEDY, false},
      {403, "RequestTimeTooSkewed", false, SMIG_S3_SET_CLOCK, false},
      {400, "ExpiredToken", false, SMIG_S3_NEW_CREDENTIALS, false},
      {301, "PermanentRedirect", true, SMIG_S3_OTHER_REGION, false},
      {301, "PermanentRedirect", false, SMIG_S3_NO_REMEDY, false},
      {307, "TemporaryRedirect", true, SMIG_S3_OTHER_REGION, false},
      {400, "AuthorizationHeaderMalformed", true, SMIG_S3_OTHER_REGION, false},
      {400, "AuthorizationHeaderMalformed", false, SMIG_S3_NO_REMEDY, false},
      {403, "AccessDenied", true, SMIG_S3_NO_REMEDY, false},
      {403, "SignatureDoesNotMatch", false, SMIG_S3_NO_REMEDY, false},
      {404, "NoSuchKey", false, SMIG_S3_NO_REMEDY, false},
      {409, "ConditionalRequestConflict", false, SMIG_S3_NO_REMEDY, false},
      {412, "PreconditionFailed", false, SMIG_S3_NO_REMEDY, false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    smig_s3_remedy_t remedy = smig_s3_remedy(cases[i].status, cases[i].code, cases[i].region);
    CHECK(remedy == cases[i].remedy, ": %d %s: %d", cases[i].status, cases[i].code, (int)remedy);
    CHECK(smig_s3_leaves_unknown(cases[i].status, cases[i].code) == cases[i].unknown, ": %d %s", cases[i].status,
          cases[i].code);
  }
}

/* Every wait lies between nothing and the ceiling, and both ends can be met. */
static void waits_grow_to_the_cap(void) {
  static const int64_t ceilings[] = {100, 200, 400, 800, 1600, 3200, 6400, 12800, 20000, 20000};
  for (int tries = 1; tries <= 10; tries++) {
    int64_t ceiling = ceilings[tries - 1];
    CHECK(smig_s3_retry_delay_ms(tries, 0, 0) == 0, ": %d", tries);
    CHECK(smig_s3_retry_delay_ms(tries, (uint32_t)ceiling, 0) == ceiling, ": %d", tries);
    CHECK(smig_s3_retry_delay_ms(tries, (uint32_t)ceiling + 1, 0) == 0, ": %d", tries);
    CHECK(smig_s3_retry_delay_ms(tries, UINT32_MAX, 0) <= ceiling, ": %d", tries);
  }
  CHECK(smig_s3_retry_delay_ms(1000, 20000, 0) == 20000);
}

static void a_server_may_ask_for_longer(void) {
  CHECK(smig_s3_retry_delay_ms(1, 50, 3000) == 3000);
  CHECK(smig_s3_retry_delay_ms(1, 50, 20) == 50);
  CHECK(smig_s3_retry_delay_ms(1, 50, 3600000) == 20000);
}

int main(void) {
  RUN(the_table_says_what_to_do);
  RUN(waits_grow_to_the_cap);
  RUN(a_server_may_ask_for_longer);
  return check_done();
}
