// A mail server as a process of its own. It prints its port, then each e-mail as a line of JSON.

import { SMTPServer } from "smtp-server";

const server = new SMTPServer({
  // Berth reaches it over loopback, and the test has no certificate that it would trust.
  disabledCommands: ["STARTTLS"],
  allowInsecureAuth: true,
  onAuth({ username, password }, _session, done) {
    const accepted = username === "berth" && password === "mail password";
    done(accepted ? null : new Error("Wrong credentials"), { user: username });
  },
  onData(stream, session, done) {
    const chunks = [];
    stream.on("data", (chunk) => chunks.push(chunk));
    stream.on("end", () => {
      const to = session.envelope.rcptTo.map((recipient) => recipient.address);
      console.log(JSON.stringify({ to, text: Buffer.concat(chunks).toString() }));
      done();
    });
  },
});
server.listen(0, "127.0.0.1", () => console.log(String(server.server.address().port)));
