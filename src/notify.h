/* The service manager's notification protocol, sd_notify(3): one datagram to $NOTIFY_SOCKET. Spares a dependency on libsystemd. */
#ifndef SLUICE_NOTIFY_H
#define SLUICE_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* Does a manager listen? */
bool notify_is_wanted(void);
/* How long it waits for a "WATCHDOG=1" of this process before it gives us up, in microseconds; 0: for ever. */
uint64_t notify_watchdog_us(void);
/* Sends "READY=1", "STOPPING=1", "STATUS=..."; does nothing when no manager listens. */
void notify_manager(const char *state);

#endif
