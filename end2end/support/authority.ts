import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A certificate and its private key, in PEM. */
export interface Pair {
  certificate: string;
  key: string;
}

/** The certificates of a test: an authority, that of a server on 127.0.0.1, and that of a client. */
export interface Authority {
  ca: string;
  server: Pair;
  client: Pair;
}

/** Creates an authority with the certificates of a server and of a client. */
export function authority(): Authority {
  const folder = mkdtempSync(join(tmpdir(), "berth-authority-"));
  const file = (name: string) => join(folder, name);
  const read = (name: string) => readFileSync(file(name), "utf8");
  const openssl = (...args: string[]) => execFileSync("openssl", args, { stdio: "pipe" });
  const ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  openssl("req", "-x509", ...ec, "-days", "30", "-keyout", file("ca.key"), "-out", file("ca.pem"), "-subj", "/O=Example/CN=Internal CA");
  const issue = (name: string, subject: string, extensions: string): Pair => {
    openssl("req", ...ec, "-keyout", file(`${name}.key`), "-out", file(`${name}.csr`), "-subj", subject);
    writeFileSync(file(`${name}.ext`), `basicConstraints=CA:FALSE\n${extensions}\n`);
    const signer = ["-CA", file("ca.pem"), "-CAkey", file("ca.key"), "-CAcreateserial"];
    openssl("x509", "-req", "-in", file(`${name}.csr`), ...signer, "-days", "20", "-extfile", file(`${name}.ext`), "-out", file(`${name}.pem`));
    return { certificate: read(`${name}.pem`), key: read(`${name}.key`) };
  };
  const made = {
    ca: read("ca.pem"),
    server: issue("server", "/O=Example/CN=127.0.0.1", "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth"),
    client: issue("client", "/O=Example/CN=berth", "extendedKeyUsage=clientAuth"),
  };
  rmSync(folder, { recursive: true });
  return made;
}
