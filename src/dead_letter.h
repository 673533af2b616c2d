/* A dead letter: the JSON object that stands in a queue's dead_letter list. */
#ifndef SLUICE_DEAD_LETTER_H
#define SLUICE_DEAD_LETTER_H

#include <stdint.h>

struct buf;
struct item;
struct reject;

/* Appends {"queue":..,"payload":..,["encoding":"base64",]"error":{..},"position":..,"instance":..,"at":..}. The payload is a string of the same bytes,
 * or base64 where they are no valid UTF-8, or more than 1 MiB and shorter so. `driver` is enum driver: it names the error's code, sqlstate or errno.
 * `at_us`: microseconds since 1970. */
void dead_letter_write(struct buf *out, const char *queue, const char *instance, int driver, const struct item *item, const struct reject *reject,
    uint64_t position, int64_t at_us);

#endif
