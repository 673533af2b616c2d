/* Is it UTF-8? What reaches a log, a JSON text or a terminal has been asked this first. */
#ifndef SLUICE_UTF8_H
#define SLUICE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes (1 to 4) of the character that s[0..n) begins with; 0: it begins with none (overlong forms, surrogates and values past U+10FFFF too).
 * n must not be 0. */
size_t utf8_char(const char *s, size_t n);
/* Are all n bytes whole characters? */
bool utf8_valid(const char *s, size_t n);

#endif
