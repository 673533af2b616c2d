"""Databases that are reached over TCP and TLS."""

import os
import pwd
import subprocess

from servers import PostgreSQL, free_port


class Tls:
    """A second server of that kind; `ca` signed it for "localhost", `other_ca` did not. Its files stand in `directory`."""

    def __init__(self, kind, directory):
        self.ca, self.other_ca = os.path.join(directory, "ca.pem"), os.path.join(directory, "other.pem")
        key, cert = os.path.join(directory, "key.pem"), self.ca
        for name in (self.other_ca, self.ca):  # self-signed: its own authority
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", name, "-days", "2", "-subj",
                            "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
        account = pwd.getpwnam(kind.account)
        os.chmod(directory, 0o755)
        os.chmod(key, 0o600)
        if os.geteuid() == 0:
            os.chown(key, account.pw_uid, account.pw_gid)
        self.port = free_port()
        if kind is PostgreSQL:
            settings = ["listen_addresses=127.0.0.1", "ssl=on", f"ssl_cert_file={cert}", f"ssl_key_file={key}"]
            self.server = kind(port=self.port, options=[word for setting in settings for word in ("-c", setting)])
        else:
            self.server = kind(options=["--skip-networking=0", "--bind-address=127.0.0.1", f"--port={self.port}", f"--ssl-cert={cert}",
                                        f"--ssl-key={key}"])
        if kind is not PostgreSQL:
            self.server.query("CREATE USER sluice@'127.0.0.1'")
            self.server.query("GRANT ALL ON shop.* TO sluice@'127.0.0.1'")

    def section(self, **options):
        """A [database ...] section for it, whose certificate is checked."""
        return self.server.section(host="localhost", port=self.port, sslmode="verify-full", sslrootcert=self.ca, **options)
