// @grpc/grpc-js with @grpc/proto-loader: a client made at run time of the
// protocol's definitions, as Node programs make theirs.
"use strict";

const { execFileSync } = require("node:child_process");
const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { after, test } = require("node:test");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const MODEL = "digits";
const INPUTS = { image: ["UINT8", [28, 28]], audio: ["INT16", [8000]], text: ["UINT8", [12]] };
const SUBSETS = [["image"], ["audio"], ["text"], ["image", "audio"], ["image", "text"], ["audio", "text"], ["image", "audio", "text"]];
const SAMPLES = JSON.parse(fs.readFileSync(process.env.MOSEL_SAMPLES, "ascii"));
const [SEVEN, THREE] = SAMPLES;

const definitions = loader.loadSync(path.join(__dirname, "../../oip/inference/inference.proto"), { keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true });
const { GRPCInferenceService } = grpc.loadPackageDefinition(definitions).inference;
const client = new GRPCInferenceService(process.env.MOSEL_GRPC, grpc.credentials.createInsecure());
after(() => client.close());

// call makes one unary call: the answer, or the error that gRPC gives.
function call(method, request, options = {}, metadata = new grpc.Metadata()) {
  return new Promise((resolve, reject) => {
    client[method](request, metadata, { deadline: Date.now() + 20_000, ...options }, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

// question is a ModelInferRequest for some modalities of the samples.
function question(samples, modalities = Object.keys(INPUTS), fields = {}) {
  return {
    model_name: MODEL,
    inputs: modalities.map((name) => ({ name, datatype: INPUTS[name][0], shape: [samples.length, ...INPUTS[name][1]] })),
    raw_input_contents: modalities.map((name) => Buffer.concat(samples.map((s) => Buffer.from(s[name], "base64")))),
    ...fields,
  };
}

// best lists the digit with the highest score of each item.
function best(answer) {
  const raw = answer.raw_output_contents[0];
  const [items, digits] = answer.outputs[0].shape;
  assert.deepEqual([digits, raw.length], [10, items * digits * 4]);
  return Array.from({ length: items }, (_, i) => {
    const scores = Array.from({ length: digits }, (_, d) => raw.readFloatLE((i * digits + d) * 4));
    return scores.indexOf(Math.max(...scores));
  });
}

// fact is one of the parameters with which an answer says what ran.
function fact(answer, name) {
  const parameter = answer.parameters[name];
  return parameter[parameter.parameter_choice];
}

// refused checks the code of an error and its words.
function refused(promise, code, words) {
  return assert.rejects(promise, (error) => {
    assert.equal(grpc.status[error.code], code, error.details);
    assert.match(error.details, words);
    return true;
  });
}

test("live and ready", async () => {
  assert.equal((await call("ServerLive", {})).live, true);
  assert.equal((await call("ServerReady", {})).ready, true);
  assert.equal((await call("ModelReady", { name: MODEL })).ready, true);
});

test("metadata", async () => {
  assert.equal((await call("ServerMetadata", {})).name, "mosel");
  const metadata = await call("ModelMetadata", { name: MODEL });
  assert.deepEqual(metadata.inputs, Object.entries(INPUTS).map(([name, [datatype, shape]]) => ({ name, datatype, shape: [-1, ...shape] })));
  assert.deepEqual(metadata.outputs, [{ name: "probabilities", datatype: "FP32", shape: [-1, 10] }]);
  assert.equal(metadata.properties.modalities, "image,audio,text");
});

test("configuration", async () => {
  const { config } = await call("ModelConfig", { name: MODEL });
  assert.equal(config.max_batch_size, 32);
  assert.deepEqual(config.input.map((i) => [i.name, i.data_type, i.dims, i.optional]), Object.entries(INPUTS).map(([name, [datatype, shape]]) => [name, "TYPE_" + datatype, shape, true]));
});

test("repository and statistics", async () => {
  const { models } = await call("RepositoryIndex", {});
  assert.deepEqual(models.filter((m) => m.name === MODEL).map((m) => [m.version, m.state]), [["1", "READY"]]);
  const count = async () => (await call("ModelStatistics", { name: MODEL })).model_stats[0].inference_count;
  const before = await count();
  await call("ModelInfer", question(SAMPLES.slice(0, 4)));
  assert.equal((await count()) - before, 4);
});

test("every subset of the modalities", async () => {
  for (const modalities of SUBSETS) {
    const answer = await call("ModelInfer", question([SEVEN, THREE], modalities));
    assert.deepEqual(best(answer), [7, 3]);
    assert.ok(fact(answer, "modalities").split(",").every((m) => modalities.includes(m)));
  }
});

test("typed contents", async () => {
  const bytes = (name) => Buffer.from(SEVEN[name], "base64");
  const audio = bytes("audio");
  const contents = {
    image: { uint_contents: [...bytes("image")] },
    audio: { int_contents: Array.from({ length: 8000 }, (_, i) => audio.readInt16LE(2 * i)) },
    text: { uint_contents: [...bytes("text")] },
  };
  const inputs = Object.entries(INPUTS).map(([name, [datatype, shape]]) => ({ name, datatype, shape: [1, ...shape], contents: contents[name] }));
  assert.deepEqual(best(await call("ModelInfer", { model_name: MODEL, inputs })), [7]);
});

test("id, version and objective", async () => {
  const parameters = { min_accuracy: { double_param: 0.97 }, deadline_ms: { int64_param: 5000 } };
  const answer = await call("ModelInfer", question(SAMPLES, undefined, { id: "a-7", model_version: "1", parameters }));
  assert.deepEqual([answer.id, answer.model_name, answer.model_version], ["a-7", MODEL, "1"]);
  assert.ok(Number(fact(answer, "expected_accuracy")) >= 0.97);
  const right = best(answer).filter((digit, i) => digit === SAMPLES[i].label).length;
  assert.ok(right >= 0.9 * SAMPLES.length, `${right} right`);
});

test("objective in metadata", async () => {
  const metadata = new grpc.Metadata();
  metadata.set("x-mosel-min-accuracy", "0.97");
  await refused(call("ModelInfer", question([SEVEN], ["text"]), {}, metadata), "FAILED_PRECONDITION", /0\.79/);
  assert.ok(Number(fact(await call("ModelInfer", question([SEVEN]), {}, metadata), "expected_accuracy")) >= 0.97);
});

test("many at once", async () => {
  const answers = await Promise.all(SAMPLES.map((s, i) => call("ModelInfer", question([s], undefined, { id: String(i) }))));
  assert.deepEqual(answers.map((a) => a.id), SAMPLES.map((_, i) => String(i)));
});

test("gzip", async () => {
  const squeezing = new GRPCInferenceService(process.env.MOSEL_GRPC, grpc.credentials.createInsecure(), { "grpc.default_compression_algorithm": 2 });
  try {
    const answer = await new Promise((resolve, reject) => squeezing.ModelInfer(question([SEVEN]), (error, answer) => (error ? reject(error) : resolve(answer))));
    assert.deepEqual(best(answer), [7]);
  } finally {
    squeezing.close();
  }
});

test("deadline and cancellation", async () => {
  await refused(call("ModelInfer", question(SAMPLES), { deadline: Date.now() - 1 }), "DEADLINE_EXCEEDED", /./);
  await refused(
    new Promise((resolve, reject) => client.ModelInfer(question(SAMPLES), (error, answer) => (error ? reject(error) : resolve(answer))).cancel()),
    "CANCELLED",
    /./,
  );
  assert.deepEqual(best(await call("ModelInfer", question([THREE]))), [3]);
});

test("stream with an error in the middle", async () => {
  const stream = client.ModelStreamInfer({ deadline: Date.now() + 20_000 });
  stream.write(question([SEVEN], undefined, { id: "a" }));
  stream.write(question([SEVEN], undefined, { id: "b", model_name: "nobody" }));
  stream.write(question([THREE], undefined, { id: "c" }));
  stream.end();
  const found = {};
  const errors = [];
  for await (const { error_message: words, infer_response: answer } of stream) {
    if (words) errors.push(words);
    else found[answer.id] = best(answer);
  }
  assert.deepEqual(found, { a: [7], c: [3] });
  assert.equal(errors.length, 1);
  assert.match(errors[0], /nobody/);
});

test("errors", async () => {
  await refused(call("ModelInfer", question([SEVEN], undefined, { model_name: "nobody" })), "NOT_FOUND", /nobody/);
  await refused(call("ModelMetadata", { name: "nobody" }), "NOT_FOUND", /nobody/);
  await refused(call("ModelInfer", question([SEVEN], undefined, { parameters: { min_accuracy: { string_param: "much" } } })), "INVALID_ARGUMENT", /min_accuracy/);
  await refused(call("ModelInfer", question([SEVEN], ["text"], { parameters: { min_accuracy: { double_param: 0.97 } } })), "FAILED_PRECONDITION", /0\.79/);
  await refused(call("ModelInfer", { model_name: MODEL }), "INVALID_ARGUMENT", /./);
  const wrong = question([SEVEN], ["text"]);
  wrong.inputs[0].shape = [1, 13];
  await refused(call("ModelInfer", wrong), "INVALID_ARGUMENT", /shape/);
});

test("unload and load", async () => {
  await call("RepositoryModelUnload", { model_name: MODEL });
  await call("RepositoryModelLoad", { model_name: MODEL });
  assert.equal((await call("ModelReady", { name: MODEL })).ready, true);
});

test("documented", () => {
  const page = fs.readFileSync(path.join(__dirname, "../../docs/clients.md"), "utf8");
  const [, code] = page.match(/^## Node\.js\n[^]*?^```js\n([^]*?)^```/m);
  const printed = execFileSync(process.execPath, ["-e", code.replace("localhost:8001", process.env.MOSEL_GRPC)], { cwd: path.join(__dirname, "../.."), timeout: 20_000 });
  assert.equal(String(printed).trim(), "7 text");
});
