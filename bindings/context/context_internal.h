/* What the files of context/ share: the ctx object, and its parts (log, checkpoint, step, lease), which die with it. */
#ifndef SMIG_BINDINGS_CONTEXT_INTERNAL_H
#define SMIG_BINDINGS_CONTEXT_INTERNAL_H

#include "lcontext.h"

/* User value 1: the scope of its MongoDB handles, or nil. 2: a table of the parts made so far. 3: the scope of its S3 handles, or nil. */
typedef struct lcontext {
  smig_ctx_t *ctx;      /* NULL: the step is over */
  char *step_id;        /* for the message then */
  const char *database; /* NULL: no MongoDB */
} lcontext_t;

enum { CONTEXT_SCOPE = 1, CONTEXT_PARTS = 2, CONTEXT_S3 = 3, CONTEXT_USER_VALUES = 3 };

/* The ctx object at idx; raises when its step is over. */
lcontext_t *context_check(lua_State *L, int idx);
/* A part is an empty userdata of class `name` whose user value is the ctx object at idx. */
void context_push_part(lua_State *L, int idx, const char *name);
/* The ctx of the part at 1; raises when its step is over. */
smig_ctx_t *context_of_part(lua_State *L, const char *name);

#define CONTEXT_LOG "smartmigration.ctx.log"
#define CONTEXT_CHECKPOINT "smartmigration.ctx.checkpoint"
#define CONTEXT_STEP "smartmigration.ctx.step"
#define CONTEXT_LEASE "smartmigration.ctx.lease"

/* Makes the parts' classes, once a state. */
void context_register_log(lua_State *L);
void context_register_checkpoint(lua_State *L);
void context_register_step(lua_State *L);
void context_register_lease(lua_State *L);

#endif
