/*
 * What all ledger backends share. Users: run/, the backends, tests. Errors: none. Threads: an instance is used by one.
 */
#include "ledger.h"

void smig_ledger_free(smig_ledger_t *ledger) {
  if (ledger) ledger->ops->free(ledger);
}

void smig_lease_new(smig_lease_t *lease, int64_t ttl_ms) {
  smig_run_id_new(lease->run_id);
  smig_holder_new(lease->run_id, lease->holder);
  lease->ttl_ms = ttl_ms;
  lease->fence = 0;
}
