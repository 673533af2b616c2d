/* The child that waits for the daemon. */
#include "top_ask.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "commands.h"

#define PIECE_BYTES 65536

int
top_ask_wait(const struct config *config, struct buf *answer)
{
	int status = command_look(config, "/stats?history=1", "history", answer);
	while (status != EX_OK && answer->len > 0 && answer->data[answer->len - 1] == '\n')
		answer->len--;
	return status;
}

/* In the child: says it all and ends. Nothing of the parent's is touched, neither its terminal nor its buffers. */
static void __attribute__((noreturn))
answer_and_exit(const struct config *config, int fd)
{
	struct buf answer = BUF_INIT;
	int status = top_ask_wait(config, &answer);
	for (size_t at = 0; at < answer.len;) {
		ssize_t n = write(fd, answer.data + at, answer.len - at);
		if (n <= 0)
			_exit(EX_IOERR);
		at += (size_t)n;
	}
	_exit(status);
}

bool
top_ask_begin(struct top_ask *ask, const struct config *config)
{
	int fds[2];
	ASSERT(ask->child == 0 && ask->fd < 0);
	if (pipe(fds) != 0)
		return false;
	ask->child = fork();
	if (ask->child == 0) {
		close(fds[0]);
		answer_and_exit(config, fds[1]);
	}
	close(fds[1]);
	if (ask->child < 0) {
		close(fds[0]);
		ask->child = 0;
		return false;
	}
	buf_reset(&ask->answer);
	ask->fd = fds[0];
	return true;
}

/* The child's exit status. */
static int
reap(struct top_ask *ask)
{
	int status = 0;
	ASSERT(ask->child > 0 && ask->fd >= 0);
	while (waitpid(ask->child, &status, 0) < 0 && errno == EINTR)
		;
	close(ask->fd);
	ask->fd = -1;
	ask->child = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EX_SOFTWARE;
}

bool
top_ask_read(struct top_ask *ask, int *status)
{
	ASSERT(ask->fd >= 0 && ask->child > 0);
	ssize_t n = read(ask->fd, buf_reserve(&ask->answer, PIECE_BYTES), PIECE_BYTES);
	if (n > 0)
		ask->answer.len += (size_t)n;
	if (n > 0 || (n < 0 && errno == EINTR))
		return false;
	*status = reap(ask);
	return true;
}

void
top_ask_end(struct top_ask *ask)
{
	ASSERT((ask->child > 0) == (ask->fd >= 0));
	if (ask->child > 0) {
		kill(ask->child, SIGKILL);
		(void)reap(ask);
	}
	buf_free(&ask->answer);
}
