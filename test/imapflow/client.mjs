// Reads a mailbox with imapflow and prints what it found as JSON. Usage:
//   node client.mjs PORT CA USER (password in the environment) [seconds to idle]
import { readFileSync } from "node:fs";
import { ImapFlow } from "imapflow";

const [port, ca, user, idle] = process.argv.slice(2);
const client = new ImapFlow({
  host: "localhost", port: Number(port), secure: true, tls: { ca: readFileSync(ca) },
  auth: { user, pass: process.env.MAIL_PASSWORD }, logger: false,
});
const seen = { folders: [], ids: [], sizes: 0, events: 0, errors: [] };
client.on("error", (err) => seen.errors.push(String(err)));
client.on("close", () => { if (!seen.done) seen.errors.push("closed"); });
client.on("exists", () => { seen.events++; });
await client.connect();
seen.folders = (await client.list()).map((f) => f.path).sort();
const lock = await client.getMailboxLock("INBOX");
for await (const m of client.fetch("1:*", { envelope: true, source: true })) {
  seen.ids.push(m.envelope.messageId);
  seen.sizes += m.source.length;
}
lock.release();
if (idle) {
  console.log("idle");
  await new Promise((done) => { setTimeout(done, 1000 * Number(idle)); });
  seen.status = (await client.status("INBOX", { messages: true })).messages;
}
seen.done = true;
await client.logout();
console.log(JSON.stringify(seen));
