# SPDX-License-Identifier: GPL-2.0-or-later
"""A host as the controller sees it: fetches its boot script, enrols with a key of its own, reports."""
import uuid

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.program import conftest


class Host:
    def __init__(self, controller, n: int, boot_id: str | None = None, source: str | None = None, key=None):
        self.controller, self.n = controller, n
        self.boot_id = boot_id or str(uuid.uuid4())
        self.source = source or conftest.address(n)
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.folder = controller.folder / f"host-{uuid.uuid4()}"
        self.certificate = None

    def fetch_script(self) -> str:
        answer = self.controller.boot(f"/boot/script?mac={conftest.mac(self.n)}&platform=pcbios", source=self.source)
        assert answer.status == 200, answer
        return answer.body.decode()

    def ask_token(self):
        return self.controller("POST", "/enrol/token", {"mac": conftest.mac(self.n), "boot_id": self.boot_id}, token=None,
                               source=self.source)

    def facts(self, **changes) -> dict:
        return {"boot_id": self.boot_id, "mac": conftest.mac(self.n), "firmware": "bios", "model": "test", "cpus": 2,
                "memory_mib": 4096, "kvm": False, "boot_ms": 1000, **changes}

    def csr(self) -> str:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "whatever-it-likes")])
        request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(self.key, hashes.SHA256())
        return request.public_bytes(serialization.Encoding.PEM).decode()

    def ask_certificate(self, token: str, **changes):
        body = {"token": token, "boot_id": self.boot_id, "csr": self.csr(), "facts": self.facts(), **changes}
        return self.controller("POST", "/enrol", body, token=None, source=self.source)

    def enrol(self) -> "Host":
        token = self.ask_token()
        assert token.status == 200, token
        answer = self.ask_certificate(token.json["token"])
        assert answer.status == 200, answer
        self.keep(answer.json["certificate"])
        return self

    def keep(self, certificate: str) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "cert.pem").write_text(certificate)
        (self.folder / "key.pem").write_bytes(self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        self.certificate = (self.folder / "cert.pem", self.folder / "key.pem")

    def boot(self) -> "Host":
        assert "nightclass.url=" in self.fetch_script()
        return self.enrol()

    def goal(self, query: str = "", timeout: float = 20):
        return self.controller("GET", f"/host/goal{query}", token=None, source=self.source, certificate=self.certificate,
                               timeout=timeout)

    def report(self, **changes):
        body = {"version": 1, "generation": 0, "role": "host", "facts": self.facts(), "images": [], "vms": [],
                "load_permille": 0, **changes}
        return self.controller("POST", "/host/report", body, token=None, source=self.source, certificate=self.certificate)
