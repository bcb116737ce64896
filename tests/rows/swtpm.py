"""A real software TPM, booted with a log, and what it quotes with a key of each scheme."""
import os
import pathlib
import subprocess
import time

import made
from made import ALG

SCHEMES = {  # as tpm2-tools name them: key, scheme
    "rsassa": ("rsa2048:rsassa-sha256:null", "rsassa"),
    "rsapss": ("rsa2048:rsapss-sha256:null", "rsapss"),
    "p256": ("ecc256:ecdsa-sha256:null", "ecdsa"), "p384": ("ecc384:ecdsa-sha384:null", "ecdsa"),
}
ATTRIBUTES = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign"


class Swtpm:
    """`folder` must be short: a UNIX socket's path has 107 bytes."""

    def __init__(self, folder, log):
        self.folder = pathlib.Path(folder)
        server, control = self.folder / "s", self.folder / "s.ctrl"
        self.process = subprocess.Popen(
            ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder}", "--server",
             f"type=unixio,path={server}", "--ctrl", f"type=unixio,path={control}", "--flags",
             "not-need-init,startup-clear"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.env = {**os.environ, "TPM2TOOLS_TCTI": f"swtpm:path={server}"}
        self.public = {}
        try:
            self.wait_for(server)
            self.boot(log)
        except BaseException:
            self.close()
            raise

    def wait_for(self, path):
        for _ in range(200):
            if path.exists():
                return
            time.sleep(0.02)
        raise AssertionError("swtpm did not start")

    def close(self):
        self.process.kill()
        self.process.wait()

    def tool(self, name, *arguments):
        done = subprocess.run([name, *map(str, arguments)], env=self.env, capture_output=True,
                              timeout=60)
        assert done.returncode == 0, (name, arguments, done.stderr.decode())
        return done.stdout

    def boot(self, log):
        """Extends what the log says, as the firmware did."""
        banks = {ALG["sha256"]: "sha256", ALG["sha384"]: "sha384"}
        specs = [f"{e.pcr}:" + ",".join(f"{banks[alg]}={value.hex()}" for alg, value in e.digests
                                        if alg in banks)
                 for e in log.events if e.type != made.EV_NO_ACTION]
        self.tool("tpm2_pcrextend", *specs)

    def key(self, scheme):
        """TPMT_PUBLIC of a primary of the endorsement hierarchy; its context stays in the folder."""
        if scheme not in self.public:
            context, area = self.folder / scheme, self.folder / f"{scheme}.pub"
            self.tool("tpm2_createprimary", "-Q", "-C", "e", "-G", SCHEMES[scheme][0], "-a", ATTRIBUTES,
                      "-c", context)
            self.tool("tpm2_readpublic", "-Q", "-c", context, "-f", "tss", "-o", area)
            self.tool("tpm2_readpublic", "-Q", "-c", context, "-f", "pem", "-o",
                      self.folder / f"{scheme}.pem")
            self.tool("tpm2_flushcontext", "-t")
            self.public[scheme] = area.read_bytes()[2:]
        return self.public[scheme]

    def quote(self, scheme, nonce, pcrs, bank="sha256"):
        """(TPMS_ATTEST, TPMT_SIGNATURE, {index: value})."""
        self.key(scheme)
        at = [self.folder / n for n in ("message", "signature", "pcrs")]
        self.tool("tpm2_quote", "-Q", "-c", self.folder / scheme, "-l",
                  f"{bank}:{','.join(map(str, pcrs))}", "-q", nonce.hex(), "-m", at[0], "-s", at[1],
                  "-o", at[2], "-F", "values", "-g", made.SCHEMES[scheme][1], "--scheme",
                  SCHEMES[scheme][1])
        self.tool("tpm2_flushcontext", "-t")
        message, signature, values = (p.read_bytes() for p in at)
        size = len(values) // len(pcrs)
        return message, signature, {i: values[k * size:(k + 1) * size]
                                    for k, i in enumerate(sorted(pcrs))}
