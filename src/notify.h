/* The service manager's notification protocol, sd_notify(3): one datagram to $NOTIFY_SOCKET. Spares a dependency on libsystemd. */
#ifndef SLUICE_NOTIFY_H
#define SLUICE_NOTIFY_H

/* Sends "READY=1", "STOPPING=1", "STATUS=..."; does nothing when no manager listens. */
void notify_manager(const char *state);

#endif
