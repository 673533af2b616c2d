/* Connecting to a MySQL or MariaDB, in a thread of its own: the library looks names up and shakes hands over TLS with calls that block, for as long
 * as the server likes. The loop never waits for it; all else happens in the loop.
 */
#ifndef SLUICE_DB_MYSQL_LOGIN_H
#define SLUICE_DB_MYSQL_LOGIN_H

#include <stdbool.h>
#include <stddef.h>

#include "check.h"

struct aside;
struct database_config;
struct event_base;
struct st_mysql; /* the library's MYSQL */

/* The largest packet that a server may send, bytes: no row that we ask for is larger. */
#define MYSQL_ANSWER_PACKET_MAX ((size_t)128 << 20)

/* Told once, in the loop; the aside is freed already. The connection is the callee's; not logged in: it can only say why, and be closed. */
typedef void mysql_login_fn(void *arg, struct st_mysql *mysql, bool logged_in);

/* Begins to connect to this host, a name, an address or the path of a socket. Nothing of config or host is used after the call. NULL: there is no
 * thread for it, errno says why. After aside_abandon() the thread closes what it has when it comes to its end, seconds after server_connect_timeout
 * at the latest, or when the resolver gives up. */
struct aside *mysql_login_start(struct event_base *base, const struct database_config *config, const char *host, mysql_login_fn *done,
    void *arg) MUST_CHECK;

/* May statements be joined by `;` on a connection that is logged in? Not over TLS: the library does not wait for the second answer there, but takes the
 * connection for lost if it has not come yet. */
bool mysql_login_joins(struct st_mysql *mysql) MUST_CHECK;

#endif
