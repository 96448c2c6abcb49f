// A libwebrtc peer (npm `@roamhq/wrtc`), driven as peer_protocol.py says.
"use strict";

const crypto = require("crypto");
const readline = require("readline");

const modules = process.argv[2]; // the directory that holds node_modules
const { RTCPeerConnection } = require(require.resolve("@roamhq/wrtc", { paths: [modules] }));

const HIGH_WATER_BYTES = 4 * 1024 * 1024; // libwebrtc refuses what would make its queue pass 16 MiB

const emit = (event, fields = {}) => process.stdout.write(JSON.stringify({ event, ...fields }) + "\n");
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const digest = (data) =>
  crypto.createHash("sha256").update(typeof data === "string" ? data : new Uint8Array(data)).digest("hex").slice(0, 16);
const randomMessage = (size) => new Uint8Array(crypto.randomBytes(size)).buffer;

const connection = new RTCPeerConnection({ iceServers: [] });
const channels = new Map();
const sinks = new Map(); // label -> { bytes, first, last, cpu }

function adopt(channel) {
  const { label } = channel;
  channels.set(label, channel);
  channel.binaryType = "arraybuffer";
  let told = false; // a channel the other side opened may be open before it is ours, and then say so again
  channel.onopen = () => {
    if (!told) emit("open", { label, protocol: channel.protocol, ordered: channel.ordered, id: channel.id });
    told = true;
  };
  channel.onclose = () => emit("closed", { label });
  channel.onmessage = ({ data }) => {
    const sink = sinks.get(label);
    if (sink) {
      sink.last = performance.now();
      sink.first = sink.bytes ? sink.first : sink.last;
      sink.bytes += data.byteLength;
      return;
    }
    const text = typeof data === "string";
    emit("message", {
      label,
      kind: text ? "text" : "bytes",
      size: text ? [...data].length : data.byteLength,
      digest: digest(data),
    });
  };
}

connection.ondatachannel = ({ channel }) => {
  adopt(channel);
  if (channel.readyState === "open") channel.onopen();
};
connection.onconnectionstatechange = () => emit("connection", { state: connection.connectionState });

async function gathered() {
  while (connection.iceGatheringState !== "complete") await sleep(5);
  const { type, sdp } = connection.localDescription;
  emit("description", { type, sdp });
}

async function drained(channel, limit) {
  while (channel.bufferedAmount > limit && channel.readyState === "open") await sleep(1);
}

function cpuSeconds() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

async function flood(channel, size, seconds) {
  const cpu = cpuSeconds();
  const message = randomMessage(size);
  const end = performance.now() + seconds * 1000;
  while (performance.now() < end && channel.readyState === "open") {
    for (let n = 0; n < 8 && channel.bufferedAmount < HIGH_WATER_BYTES; n++) channel.send(message);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await drained(channel, 0);
  emit("flooded", { label: channel.label, cpu: cpuSeconds() - cpu });
}

const commands = {
  channel({ label, ordered = true, max_retransmits = null, protocol = "", id = null }) {
    const options = { ordered, protocol };
    if (max_retransmits !== null) options.maxRetransmits = max_retransmits;
    if (id !== null) Object.assign(options, { negotiated: true, id });
    const channel = connection.createDataChannel(label, options);
    adopt(channel);
    if (channel.readyState === "open") channel.onopen(); // on a running connection it is, without an event
  },
  async offer() {
    await connection.setLocalDescription(await connection.createOffer());
    await gathered();
  },
  async remote({ type, sdp }) {
    await connection.setRemoteDescription({ type, sdp });
    if (type !== "offer") return;
    await connection.setLocalDescription(await connection.createAnswer());
    await gathered();
  },
  async send({ label, sizes }) {
    const messages = sizes.map(randomMessage);
    emit("sent", { label, digests: messages.map(digest) });
    for (const message of messages) {
      await drained(channels.get(label), HIGH_WATER_BYTES);
      channels.get(label).send(message);
    }
  },
  send_text({ label, texts }) {
    emit("sent", { label, digests: texts.map(digest) });
    for (const text of texts) channels.get(label).send(text);
  },
  close_channel({ label }) {
    channels.get(label).close();
  },
  sink({ label }) {
    sinks.set(label, { bytes: 0, first: 0, last: 0, cpu: cpuSeconds() });
  },
  flood({ label, size, seconds }) {
    return flood(channels.get(label), size, seconds);
  },
  report({ label }) {
    const { bytes, first, last, cpu } = sinks.get(label);
    emit("report", { label, bytes, seconds: (last - first) / 1000, cpu: cpuSeconds() - cpu });
  },
  async quit() {
    connection.close();
    await sleep(50); // libwebrtc's threads still send its last packets
  },
};

async function main() {
  emit("ready");
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    try {
      await commands[command.do](command);
    } catch (error) {
      console.error(error.stack);
      emit("error", { message: `${command.do}: ${error}` });
    }
    if (command.do === "quit") break;
  }
  process.stdout.write(JSON.stringify({ event: "quit" }) + "\n", () => process.exit(0));
}

main();
