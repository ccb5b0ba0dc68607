/*
 * Texts that others wrote: reading their UTF-8, and quoting them in one-line messages.
 * Users: semver, chain, ledger state, plan. Pure; any thread.
 */
#ifndef SMIG_CORE_TEXT_H
#define SMIG_CORE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The number of bytes (1 to 4) of the well-formed character at `text`, and the character; 0: none is there. */
size_t smig_utf8_decode(const char *text, size_t length, uint32_t *character);
/* Whether a character is a control character (C0, DEL, C1). */
bool smig_is_control(uint32_t character);
/*
 * A copy (bson_free) that is valid UTF-8 on one line: control characters, line separators and ill-formed bytes become
 * \xNN or \uNNNN; at most `limit` bytes of the text are taken, "..." says that it was cut. NULL is "".
 */
char *smig_text_escape(const char *text, size_t length, size_t limit);

#endif
