/* The MongoDB ledger's patience with unanswered writes, and the server's clock. See mongo_ledger_internal.h. */
#include "mongo_ledger_internal.h"

enum { PAUSE_FIRST_MS = 50, PAUSE_LAST_MS = 1000 };

smig_mongo_ledger_patience_t smig_mongo_ledger_patience(const smig_mongo_ledger_t *self) {
  return (smig_mongo_ledger_patience_t){.until_boot_ms =
                                            self->channel.transaction ? 0 : smig_clock_boot_ms() + self->patience_ms,
                                        .pause_ms = PAUSE_FIRST_MS};
}

bool smig_mongo_ledger_again(smig_mongo_ledger_patience_t *patience) {
  if (smig_clock_boot_ms() + patience->pause_ms >= patience->until_boot_ms) return false;
  smig_clock_sleep_ms(patience->pause_ms);
  patience->pause_ms = patience->pause_ms * 2 < PAUSE_LAST_MS ? patience->pause_ms * 2 : PAUSE_LAST_MS;
  return true;
}

void smig_mongo_ledger_clock(smig_mongo_ledger_t *self, int64_t server_wall_ms) {
  self->clock_known = true;
  self->clock_offset_ms = server_wall_ms - smig_clock_boot_ms();
}

void smig_mongo_ledger_now(const smig_mongo_ledger_t *self, char out[SMIG_ISO_SIZE]) {
  smig_clock_iso(self->clock_known ? smig_clock_boot_ms() + self->clock_offset_ms : smig_clock_wall_ms(), out);
}
