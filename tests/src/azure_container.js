// Makes a container in Azurite: node azure_container.js PORT CONTAINER. What is asked of Azure has to be signed:
// https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key

const { createHmac } = require("node:crypto");
const { request } = require("node:http");

// Azurite's only user and his key, which everybody knows.
const account = "devstoreaccount1";
const key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

const [port, container] = process.argv.slice(2);
const path = `/${account}/${container}`;
const headers = { "x-ms-date": new Date().toUTCString(), "x-ms-version": "2021-08-06", "content-length": 0 };
const signed = [
  "PUT",
  ...Array(11).fill(""),
  `x-ms-date:${headers["x-ms-date"]}`,
  `x-ms-version:${headers["x-ms-version"]}`,
  `/${account}${path}`,
  "restype:container",
].join("\n");
const signature = createHmac("sha256", Buffer.from(key, "base64")).update(signed).digest("base64");
headers.authorization = `SharedKey ${account}:${signature}`;

const asked = request({ host: "127.0.0.1", port, method: "PUT", path: `${path}?restype=container`, headers }, (answer) => {
  answer.pipe(process.stderr);
  // 409: it is there.
  process.exitCode = answer.statusCode === 201 || answer.statusCode === 409 ? 0 : 1;
});
asked.on("error", (error) => {
  console.error(String(error));
  process.exitCode = 1;
});
asked.end();
