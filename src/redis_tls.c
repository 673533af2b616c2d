/* TLS for a connection to Redis. hiredis alone would believe any certificate of a known authority, whomever it was given to; so OpenSSL makes the
 * connection here, and hiredis gets it. */
#include "redis_tls.h"

#include <stdio.h>

#ifdef HAVE_HIREDIS_SSL

#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "config.h"

/* What OpenSSL said last; NULL: nothing. */
static const char *
last_reason(void)
{
	return ERR_reason_error_string(ERR_peek_last_error());
}

/* A key that wants a passphrase is refused: nobody sits there to type it. */
static int
no_passphrase(char *out, int size, int writing, void *arg)
{
	(void)out, (void)size, (void)writing, (void)arg;
	return -1;
}

/* Reads what the configuration names. NULL: all is well; else the option whose file is of no use. */
static const char *
load_files(SSL_CTX *ctx, const struct redis_config *config)
{
	if (config->sslrootcert == NULL ? SSL_CTX_set_default_verify_paths(ctx) != 1 : SSL_CTX_load_verify_file(ctx, config->sslrootcert) != 1)
		return "sslrootcert";
	if (config->sslcert != NULL && SSL_CTX_use_certificate_chain_file(ctx, config->sslcert) != 1)
		return "sslcert";
	if (config->sslkey != NULL && (SSL_CTX_use_PrivateKey_file(ctx, config->sslkey, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ctx) != 1))
		return "sslkey";
	return NULL;
}

static SSL_CTX *
settings_new(const struct redis_config *config)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	ASSERT(ctx != NULL);
	ASSERT(SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1);
	/* A Redis that is killed says no good-bye; its answers tell themselves where they end. */
	SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_verify(ctx, config->sslmode == REDIS_VERIFY_NOTHING ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	return ctx;
}

/* Whom the certificate must name, and who is asked for where one address serves many names. */
static bool
expect_name(SSL *ssl, const struct redis_config *config)
{
	const char *name = config->sslname == NULL ? config->address.host : config->sslname;
	struct in6_addr ignored;
	bool numeric = inet_pton(AF_INET, name, &ignored) == 1 || inet_pton(AF_INET6, name, &ignored) == 1;
	if (!numeric && SSL_set_tlsext_host_name(ssl, name) != 1)
		return false;
	if (config->sslmode != REDIS_VERIFY_FULL)
		return true;
	return numeric ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1 : SSL_set1_host(ssl, name) == 1;
}

struct ssl_st *
redis_tls_new(const struct redis_config *config, char *why, size_t size)
{
	ASSERT(config->address.tls && config->address.host != NULL);
	ERR_clear_error();
	SSL_CTX *ctx = settings_new(config);
	const char *bad = load_files(ctx, config);
	SSL *ssl = bad == NULL ? SSL_new(ctx) : NULL;
	SSL_CTX_free(ctx); /* ssl holds it */
	if (bad != NULL) {
		char reason[200] = "cannot be read";
		redis_tls_explain(reason, sizeof reason);
		snprintf(why, size, "the file in %s is of no use: %s", bad, reason);
		return NULL;
	}
	ASSERT(ssl != NULL);
	if (!expect_name(ssl, config)) {
		snprintf(why, size, "sslname, or the host of url, is no name of a server");
		redis_tls_free(&ssl);
	}
	return ssl;
}

void
redis_tls_free(struct ssl_st **ref)
{
	SSL_free(*ref);
	*ref = NULL;
}

/* A sentence about a handshake that failed. */
static void
explain_failure(SSL *ssl, char *why, size_t size)
{
	long verdict = SSL_get_verify_result(ssl);
	char reason[200] = "the connection was closed";
	redis_tls_explain(reason, sizeof reason);
	if (verdict == X509_V_OK || SSL_get_verify_mode(ssl) == SSL_VERIFY_NONE)
		snprintf(why, size, "no TLS: %s; is it a port with TLS, does it want an sslcert?", reason);
	else if (verdict == X509_V_ERR_HOSTNAME_MISMATCH || verdict == X509_V_ERR_IP_ADDRESS_MISMATCH)
		snprintf(why, size, "its certificate is for another name: take the right one in url, or as sslname");
	else
		snprintf(why, size, "its certificate is not trusted (%s); sslrootcert must hold that of its authority", X509_verify_cert_error_string(verdict));
}

enum redis_tls
redis_tls_shake_hands(struct ssl_st *tls, struct redisContext *context, char *why, size_t size)
{
	ASSERT(tls != NULL && context->err == 0);
	ERR_clear_error();
	if (context->privctx == NULL) {
		SSL_up_ref(tls); /* the context's, from now on */
		if (redisInitiateSSL(context, tls) != REDIS_OK) {
			explain_failure(tls, why, size);
			SSL_free(tls);
			return REDIS_TLS_FAILED;
		}
	}
	switch (SSL_get_error(tls, SSL_do_handshake(tls))) {
	case SSL_ERROR_NONE:
		return REDIS_TLS_DONE;
	case SSL_ERROR_WANT_READ:
		return REDIS_TLS_READ;
	case SSL_ERROR_WANT_WRITE:
		return REDIS_TLS_WRITE;
	default:
		explain_failure(tls, why, size);
		return REDIS_TLS_FAILED;
	}
}

void
redis_tls_forget(void)
{
	ERR_clear_error();
}

#else

#define NO_TLS "this program was built without TLS for Redis; use redis:// or unix://"

struct ssl_st *
redis_tls_new(const struct redis_config *config, char *why, size_t size)
{
	(void)config;
	snprintf(why, size, "%s", NO_TLS);
	return NULL;
}

void
redis_tls_free(struct ssl_st **ref)
{
	ASSERT(*ref == NULL);
}

enum redis_tls
redis_tls_shake_hands(struct ssl_st *tls, struct redisContext *context, char *why, size_t size)
{
	(void)context;
	ASSERT(tls != NULL); /* there is none */
	snprintf(why, size, "%s", NO_TLS);
	return REDIS_TLS_FAILED;
}

void
redis_tls_forget(void)
{
}

static const char *
last_reason(void)
{
	return NULL;
}

#endif

void
redis_tls_explain(char *why, size_t size)
{
	const char *reason = last_reason();
	if (reason != NULL)
		snprintf(why, size, "%s", reason);
	redis_tls_forget();
}
