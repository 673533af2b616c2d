/* For LD_PRELOAD: getaddrinfo() of a machine whose resolver knows "here.test" as this host, "both.test" as 127.0.0.2 and then 127.0.0.1, does not know
 * "nowhere.test", and says nothing about "slow.test" for a minute. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

typedef int resolver(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int
getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
	resolver *real = (resolver *)dlsym(RTLD_NEXT, "getaddrinfo");
	if (host != NULL && strcmp(host, "slow.test") == 0) {
		sleep(60);
		return EAI_AGAIN;
	}
	if (host != NULL && strcmp(host, "nowhere.test") == 0)
		return EAI_NONAME;
	if (host != NULL && strcmp(host, "both.test") == 0) {
		int error = real("127.0.0.2", service, hints, found);
		return error != 0 ? error : real("127.0.0.1", service, hints, &(*found)->ai_next);
	}
	return real(host != NULL && strcmp(host, "here.test") == 0 ? "127.0.0.1" : host, service, hints, found);
}
