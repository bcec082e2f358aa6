// Makes a container in Azurite: node azure_container.js PORT CONTAINER ACCOUNT KEY. What is asked of Azure has to be signed:
// https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key

const { createHmac } = require("node:crypto");
const { request } = require("node:http");

const [port, container, account, key] = process.argv.slice(2);
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
