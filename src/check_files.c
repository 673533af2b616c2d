/* sluice check: files, directories and limits of this host. What holds a password was looked at when it was read. */
#include "check_private.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"

#define OTHER_FILES 128 /* visitors of the stats port and the admin socket, Redis, logs, and room */

/* The directory of a path. */
static void
add_directory(const char *path, struct buf *out)
{
	const char *slash = strrchr(path, '/');
	ASSERT(path[0] != '\0' && out->len == 0);
	if (slash == NULL)
		buf_adds(out, ".");
	else
		buf_add(out, path, slash == path ? 1 : (size_t)(slash - path));
}

/* May others put another file into its place? Not where only owners may rename their own. */
static void
check_directory(struct check *c, const char *path, const char *consequence)
{
	struct buf directory = BUF_INIT;
	struct stat about;
	add_directory(path, &directory);
	const char *name = buf_cstr(&directory);
	if (stat(name, &about) == 0 && (about.st_mode & 022) != 0 && (about.st_mode & S_ISVTX) == 0)
		check_finding(c, LEVEL_WARNING, path, "others may write to its directory, and %s: chmod go-w %s", consequence, name);
	buf_free(&directory);
}

/* Who writes the configuration chooses where orders go, and what runs as `connect_query`. */
static void
check_file(struct check *c, const char *path)
{
	struct stat about;
	if (stat(path, &about) != 0)
		return;
	if ((about.st_mode & 022) != 0)
		check_finding(c, LEVEL_WARNING, path, "others may write to it, and so say where orders go: chmod go-w %s", path);
	if (about.st_uid != 0 && geteuid() != 0 && about.st_uid != geteuid())
		check_finding(c, LEVEL_WARNING, path, "it belongs to another user, who may say where orders go: chown root %s", path);
	check_directory(c, path, "so replace it");
}

/* At the default place a missing directory is no fault: there is no socket then, or the service manager makes it. */
static void
check_admin_socket(struct check *c)
{
	const struct stats_config *stats = &c->config->stats;
	struct buf directory = BUF_INIT;
	if (stats->admin_socket == NULL)
		return;
	add_directory(stats->admin_socket, &directory);
	const char *name = buf_cstr(&directory);
	if (access(name, F_OK) == 0)
		check_directory(c, stats->admin_socket, "so take its place");
	else if (stats->admin_socket_given && strncmp(name, "/run/", 5) == 0)
		check_finding(c, LEVEL_WARNING, stats->admin_socket, "its directory is not there, and sluice does not start without it: have the "
		    "service manager make %s (RuntimeDirectory)", name);
	else if (stats->admin_socket_given)
		check_finding(c, LEVEL_ERROR, stats->admin_socket, "its directory is not there, and sluice does not start without it: mkdir %s",
		    name);
	buf_free(&directory);
}

/* Pages have no passwords, neither shown nor asked for. */
static void
check_listen(struct check *c)
{
	const char *listen = c->config->stats.listen;
	if (listen == NULL)
		return;
	if (listen[0] == ':' || strncmp(listen, "0.0.0.0:", 8) == 0 || strncmp(listen, "[::]:", 5) == 0)
		check_finding(c, LEVEL_WARNING, "stats", "listen = %s shows queues, errors and reasons of dead letters to all who reach this host: "
		    "name a private address, or let a firewall keep others out", listen);
}

/* The service may have another limit than this shell. */
static void
check_limit(struct check *c)
{
	struct rlimit files;
	rlim_t needed = OTHER_FILES;
	for (size_t i = 0; i < c->config->n_databases; i++)
		needed += c->config->databases[i].pool_size;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < needed)
		check_finding(c, LEVEL_WARNING, "limits", "%llu open files are allowed here, and the pools with all else may want %llu: set "
		    "LimitNOFILE in the service, or ulimit -n", (unsigned long long)files.rlim_cur, (unsigned long long)needed);
}

void
check_files(struct check *c)
{
	ASSERT(c->config->n_files > 0);
	for (size_t i = 0; i < c->config->n_files; i++)
		check_file(c, c->config->files[i]);
	check_admin_socket(c);
	check_listen(c);
	check_limit(c);
}
